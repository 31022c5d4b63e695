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
			return err
		}
		converted, problems, err := v1alpha2.Convert(text)
		if err != nil {
			return &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", name, err)}
		}
		if _, err := out.Write(converted); err != nil {
			return err
		}
		printNotes(problems)
	}
	return nil
}

// maxInput is the size in bytes of the largest file that is read.
const maxInput = 64 << 20

// readInput reads the file that an argument names; - is standard input.
func readInput(name string) (text []byte, err error) {
	in := os.Stdin
	if name != "-" {
		if in, err = os.Open(name); err == nil {
			defer in.Close()
		}
	}
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(in, maxInput+1))
	}
	if err == nil && len(text) > maxInput {
		err = errors.New("the file is larger than 64 MiB: split it")
	}
	if err != nil {
		return nil, &program.UsageError{Setting: "file", Reason: err.Error()}
	}
	return text, nil
}

// printNotes prints on standard error what a file had that its conversion lacks.
func printNotes[T fmt.Stringer](notes []T) {
	for _, n := range notes {
		fmt.Fprintln(program.Plain(os.Stderr), n)
	}
}
