// Command mapperimages builds the mappers of examples/mappers and writes a container image of
// each, with no container engine and no registry:
//
//	go run ./mapperimages --out ../../bin/images
//	ctr -n k8s.io images import ../../bin/images/modbus-mapper.tar
//
// The images are edgekit.local/NAME-mapper:1, which the pod.yaml of each mapper names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/cluster/image"
)

func main() {
	out := flag.String("out", "../../bin/images", "folder for the images")
	module := flag.String("module", "../../examples/mappers", "folder of the mappers' Go module")
	only := flag.String("only", "", "the one mapper to build, for example modbus; all if left out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, name := range []string{"modbus", "opcua", "mqtt", "http", "snmp"} {
		if *only != "" && *only != name {
			continue
		}
		if err := write(ctx, os.Stdout, *module, *out, name); err != nil {
			fmt.Fprintln(os.Stderr, "mapperimages:", err)
			os.Exit(1)
		}
	}
}

// write builds one mapper and writes its image.
func write(ctx context.Context, log io.Writer, module, out, name string) (err error) {
	program := filepath.Join(out, name+"-mapper")
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	if err := gobuild.Build(ctx, log, gobuild.Target{Module: module, Package: "./" + name, Output: program, Always: true}); err != nil {
		return err
	}
	f, err := os.Create(program + ".tar")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fmt.Fprintln(log, program+".tar")
	return image.Write(f, image.Image{
		Refs: []string{"edgekit.local/" + name + "-mapper:1"}, Entrypoint: []string{"/mapper"},
		User:  "65534", // nobody
		Files: []image.File{{Path: "/mapper", Source: program}},
	})
}
