module github.com/edgekit/edgekit/cmd/cluster

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0
	golang.org/x/sys v0.47.0
)

require go.uber.org/goleak v1.3.0
