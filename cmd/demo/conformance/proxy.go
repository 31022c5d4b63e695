package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

// hostpathImage is the image of the pods through which the suite's own drivers, of storage and of
// dynamic resource allocation, reach the node's sockets. Its program is no Go module that can be had;
// hostpathplugin is a stand-in of what the suite uses: the proxy of sockets, beside a shell.
const hostpathImage = "registry.k8s.io/sig-storage/hostpathplugin:v1.17.1"

// buildProxy builds the stand-in.
func buildProxy(ctx context.Context, s *site.Site) error {
	return gobuild.Build(ctx, os.Stdout, gobuild.Target{
		Module: filepath.Join(s.Repo(), "cmd", "demo"), Package: "./conformance/hostpathplugin", Output: s.Program("hostpathplugin"), Always: true,
	})
}
