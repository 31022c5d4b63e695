package main

import "github.com/edgekit/edgekit/cmd/internal/program"

type deviceConvert struct {
	File []string `arg:"" help:"YAML or JSON files; - is the input."`
}

// Run prints the converted objects.
func (d *deviceConvert) Run(out program.Output) error { return nil }
