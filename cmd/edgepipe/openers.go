package main

import (
	"log/slog"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/sources"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// openers make the sources and sinks of all kinds.
func openers() pipeline.Openers {
	return pipeline.Openers{Source: sources.Open, Sink: sinks.Open}
}

// addSources adds what sources need besides MQTT and twins.
func (p *parts) addSources(s *wire.Set, log *slog.Logger) error {
	return nil
}
