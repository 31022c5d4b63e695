package metricstext

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWrite(t *testing.T) {
	desc := prometheus.NewDesc("doors", "Doors \\ by\nroom.", []string{"room"}, nil)
	sample := func(value float64, room string) prometheus.Metric {
		return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, room)
	}
	for name, c := range map[string]struct {
		metrics []prometheus.Metric
		want    string
		good    bool
	}{
		"none":     {nil, "", true},
		"escaped":  {[]prometheus.Metric{sample(1.5, "a\"b\nc\\")}, "# HELP doors Doors \\\\ by\\nroom.\n# TYPE doors gauge\ndoors{room=\"a\\\"b\\nc\\\\\"} 1.5\n", true},
		"sorted":   {[]prometheus.Metric{sample(2, "b"), sample(1, "a")}, "doors{room=\"a\"} 1\ndoors{room=\"b\"} 2\n", true},
		"repeated": {[]prometheus.Metric{sample(1, "a"), sample(1, "a"), sample(2, "b")}, "doors{room=\"a\"} 1\ndoors{room=\"b\"} 2\n", false},
		"invalid":  {[]prometheus.Metric{prometheus.NewInvalidMetric(desc, errors.New("x")), sample(1, "a")}, "doors{room=\"a\"} 1\n", false},
	} {
		var out strings.Builder
		err := Write(&out, Collect(func(to chan<- prometheus.Metric) {
			for _, m := range c.metrics {
				to <- m
			}
		}))
		if (err == nil) != c.good || !strings.HasSuffix(out.String(), c.want) {
			t.Errorf("%s: %v, %q, want the end %q", name, err, out.String(), c.want)
		}
	}
}
