module dhow

go 1.19
