module github.com/edgekit/edgekit/cmd/edgepipe

go 1.26.0

replace github.com/edgekit/edgekit => ../..

require github.com/edgekit/edgekit v0.0.0
