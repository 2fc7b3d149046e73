module github.com/aitheros/aither-image

go 1.26
