package main

import "github.com/edgekit/edgekit/bus/pipeline"

// pipelineOptions are what a node compiles pipelines with.
func pipelineOptions() (pipeline.Options, error) { return pipeline.Options{}, nil }
