package sinks_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// A sink that writes lines to a file below a folder.
func ExampleOpen() {
	folder, err := os.MkdirTemp("", "lines")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	s, err := sinks.Open(&v1alpha1.Sink{Name: "file", File: &v1alpha1.FileSink{Path: "out.jsonl"}}, pipeline.Env{Files: folder})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	err = s.Send(context.Background(), []pipeline.Event{{ID: "1", Source: "/edge-7", Type: "reading", Data: 21.5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := os.ReadFile(filepath.Join(folder, "out.jsonl"))
	fmt.Print(string(b), err)
	// Output:
	// {"specversion":"1.0","id":"1","source":"/edge-7","type":"reading","data":21.5}
	// <nil>
}
