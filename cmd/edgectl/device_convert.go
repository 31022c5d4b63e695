package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device/v1alpha2"
)

type deviceConvert struct {
	Files []string `arg:"" name:"file" help:"YAML or JSON files; - is standard input."`
}

// Run prints the converted objects, and on standard error the fields that need a look.
func (d *deviceConvert) Run(_ context.Context, out program.Output) error {
	for _, name := range d.Files {
		text, err := readInput(name)
		if err != nil {
			return &program.UsageError{Setting: "file", Reason: err.Error()}
		}
		converted, problems, err := v1alpha2.Convert(text)
		if err != nil {
			return &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", name, err)}
		}
		if _, err := out.Write(converted); err != nil {
			return err
		}
		for _, p := range problems {
			fmt.Fprintln(os.Stderr, p)
		}
	}
	return nil
}

// maxInput is the size in bytes of the largest file that is read.
const maxInput = 64 << 20

func readInput(name string) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = errors.New("the file is larger than 64 MiB: split it")
	}
	return text, err
}
