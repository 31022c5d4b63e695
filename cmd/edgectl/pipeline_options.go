package main

import (
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

// pipelineOptions are what a node compiles pipelines with.
func pipelineOptions() (pipeline.Options, error) {
	x, err := cel.New(cel.Config{})
	if err != nil {
		return pipeline.Options{}, err
	}
	return pipeline.Options{Expressions: x, Decoder: codec.New, Schema: codec.Schema}, nil
}
