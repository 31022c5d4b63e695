package main

import (
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
)

// pipelineOptions are what a node compiles pipelines with.
func pipelineOptions() (pipeline.Options, error) {
	x, err := cel.New(cel.Config{})
	if err != nil {
		return pipeline.Options{}, err
	}
	return pipeline.Options{Expressions: x}, nil
}
