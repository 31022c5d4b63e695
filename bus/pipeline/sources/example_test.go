package sources_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/sources"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// A source that emits the lines of a file below a folder.
func ExampleOpen() {
	folder, err := os.MkdirTemp("", "lines")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "app.log"), []byte("started\n"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	s, err := sources.Open(&v1alpha1.Source{Name: "app", File: &v1alpha1.FileSource{Path: "app.log"}}, pipeline.Env{Files: folder})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = s.Run(ctx, func(_ context.Context, events []pipeline.Event, safe func()) error {
		for _, e := range events {
			fmt.Printf("%s %s\n", e.Subject, e.Data)
		}
		safe() // the offset moves on
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// app.log started
	// <nil>
}
