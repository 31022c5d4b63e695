package metricstext

import (
	"bytes"
	"errors"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Collect is a Collector whose metrics are known only when it is asked: it
// describes none of them beforehand ("unchecked" in client_golang's words).
type Collect func(out chan<- prometheus.Metric)

// Describe describes nothing.
func (Collect) Describe(chan<- *prometheus.Desc) {}

// Collect calls the function.
func (c Collect) Collect(out chan<- prometheus.Metric) { c(out) }

// Write gathers the metrics of a collector and writes them to w. When some of them
// contradict each other, Write leaves these out, writes the others and returns an
// error, as the kubelet does (promhttp.ContinueOnError).
func Write(w io.Writer, c prometheus.Collector) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return err
	}
	families, gatherErr := registry.Gather()
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return errors.Join(gatherErr, err)
		}
	}
	_, err := w.Write(text.Bytes())
	return errors.Join(gatherErr, err)
}
