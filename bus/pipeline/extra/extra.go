package extra

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// sendTimeout bounds one Send.
const sendTimeout = 30 * time.Second

// Open is a pipeline.SinkOpener for the kinds nats, kafka, otlp and file with format parquet. It
// gives all others to next, which is sinks.Open as a rule.
func Open(next pipeline.SinkOpener) pipeline.SinkOpener {
	return func(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
		if env.Logger == nil {
			env.Logger = slog.New(slog.DiscardHandler)
		}
		if env.Clock == nil {
			env.Clock = pipeline.SystemClock{}
		}
		switch {
		case spec.NATS != nil:
			return openNATS(spec, env)
		case spec.Kafka != nil:
			return openKafka(spec, env)
		case spec.OTLP != nil:
			return openOTLP(spec, env)
		case spec.File != nil && spec.File.Format == "parquet":
			return openParquet(spec, env)
		}
		return next(spec, env)
	}
}

// specError says which field of a sink is wrong.
func specError(spec *v1alpha1.Sink, err error) error {
	return fmt.Errorf("bus/pipeline/extra: sink %s: %w", spec.Name, err)
}

func refused(index int, err error) error { return &pipeline.RefusedError{Index: index, Err: err} }

// compression reads batch.compression; other names are refused with those that there are.
func compression(spec *v1alpha1.Sink, allowed ...string) (string, error) {
	if spec.Batch == nil || spec.Batch.Compression == "" {
		return "none", nil
	}
	for _, a := range allowed {
		if spec.Batch.Compression == a {
			return a, nil
		}
	}
	return "", specError(spec, fmt.Errorf("batch.compression is %.40q: this sink has %v", spec.Batch.Compression, allowed))
}

// cloudEvent is the CloudEvent of an event in JSON.
func cloudEvent(e *pipeline.Event) ([]byte, error) { return cloudevents.AppendJSON(nil, e) }
