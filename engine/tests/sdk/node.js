// npm's dockerode against a server at a unix socket: what its users do all day. Says "done" at its end.
'use strict';
const assert = require('assert');
const { PassThrough } = require('stream');
const Docker = require('dockerode');

const docker = new Docker({ socketPath: process.argv[2] });

function gather(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces).toString()));
    stream.on('error', reject);
  });
}

async function main() {
  assert.strictEqual((await docker.ping()).toString(), 'OK');

  // run, with its output.
  const out = new PassThrough();
  const text = gather(out);
  const [ended, ran] = await docker.run('busybox', ['echo', 'hello'], [out, new PassThrough()], { Tty: false });
  out.end();
  assert.strictEqual(ended.StatusCode, 0);
  assert.strictEqual(await text, 'hello\n');
  await ran.remove();

  // Input of the first process, attached before the start.
  const cat = await docker.createContainer({
    Image: 'busybox', Cmd: ['cat'], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, name: 'cat',
  });
  const attached = await cat.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  const plain = new PassThrough();
  const echoed = gather(plain);
  docker.modem.demuxStream(attached, plain, plain);
  attached.on('end', () => plain.end());
  await cat.start();
  attached.end('to and fro\n');
  assert.strictEqual(await echoed, 'to and fro\n');
  assert.strictEqual((await cat.wait()).StatusCode, 0);
  await cat.remove();

  // exec with input, hijacked and with a terminal.
  const box = await docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', 'echo started; sleep 1000'] });
  await box.start();
  const session = await box.exec({ Cmd: ['wc', '-c'], AttachStdin: true, AttachStdout: true });
  const stream = await session.start({ hijack: true, stdin: true });
  const counted = new PassThrough();
  const count = gather(counted);
  docker.modem.demuxStream(stream, counted, counted);
  stream.on('end', () => counted.end());
  stream.end('12345');
  assert.strictEqual(await count, '5\n');
  const typed = await box.exec({ Cmd: ['echo', 'hi'], AttachStdout: true, Tty: true });
  assert.strictEqual(await gather(await typed.start({ Tty: true })), 'hi\r\n');
  assert.strictEqual((await typed.inspect()).ExitCode, 0);

  // logs, archives, inspect, events.
  const logs = await box.logs({ stdout: true, stderr: true });
  assert.strictEqual(logs.subarray(8).toString(), 'started\n');
  const archive = await box.getArchive({ path: '/bin/busybox' });
  assert.ok((await gather(archive)).length > 1000);
  assert.strictEqual((await box.inspect()).State.Running, true);
  const events = await docker.getEvents({ filters: { container: [box.id], event: ['die'] } });
  const heard = new Promise((resolve) => events.once('data', (line) => resolve(JSON.parse(line.toString()))));
  await box.kill();
  assert.strictEqual((await heard).Action, 'die');
  events.destroy();
  await box.remove();

  // networks and volumes.
  const network = await docker.createNetwork({ Name: 'sdk-net', Internal: true });
  const volume = await docker.createVolume({ Name: 'sdk-volume' });
  assert.ok((await docker.listVolumes()).Volumes.some((one) => one.Name === 'sdk-volume'));
  await network.remove();
  await (await docker.getVolume('sdk-volume')).remove();
  assert.ok(volume);
  console.log('done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
