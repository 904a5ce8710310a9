"""The middle tier of a small application: every visit becomes a row, and the page tells how many there are."""

import http.server

import psycopg2


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with psycopg2.connect(host="db", user="postgres", connect_timeout=3) as database:
                with database.cursor() as cursor:
                    cursor.execute("CREATE TABLE IF NOT EXISTS visits (page text)")
                    cursor.execute("INSERT INTO visits VALUES (%s)", [self.path])
                    cursor.execute("SELECT count(*) FROM visits")
                    answer = (200, f"visit {cursor.fetchone()[0]}\n")
        except psycopg2.Error as error:
            answer = (503, f"{error}\n")
        self.send_response(answer[0])
        self.end_headers()
        self.wfile.write(answer[1].encode())


http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
