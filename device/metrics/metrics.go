package metrics

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/device"
)

// states are all states that a mapper gives to a device.
var states = []string{"", device.Online, device.Unhealthy, device.Offline, device.Disabled}

// Collector is a prometheus.Collector of mappers, of which no two have one protocol.
type Collector struct {
	mappers []*device.Mapper

	devices, opens, reads, invalid, writes, notTaken *prometheus.Desc
	values, reports, calls, panics, stuck, proposals *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// New makes the Collector of mappers.
func New(mappers ...*device.Mapper) (*Collector, error) {
	seen := make(map[string]bool)
	for _, m := range mappers {
		protocol := m.Stats().Protocol
		if seen[protocol] {
			return nil, errors.New("device/metrics: two mappers have the protocol " + protocol + ": give each a Collector of a registry with labels of its own")
		}
		seen[protocol] = true
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("edgekit_mapper_"+name, help, append([]string{"protocol"}, labels...), nil)
	}
	return &Collector{
		mappers:   mappers,
		devices:   desc("devices", "Devices, by their state now.", "state"),
		opens:     desc("opens_total", "Calls of the driver's Open.", "result"),
		reads:     desc("reads_total", "Properties that were read.", "result"),
		invalid:   desc("invalid_values_total", "Values that were read and not reported: of another type, not a number, or not in the transform."),
		writes:    desc("writes_total", "Calls of the driver's Write.", "result"),
		notTaken:  desc("not_taken_total", "Writes after which the device had another value."),
		values:    desc("reported_values_total", "Values that were reported."),
		reports:   desc("reports_total", "Reports of values.", "result"),
		calls:     desc("calls_total", "Calls of methods of devices.", "result"),
		panics:    desc("driver_panics_total", "Panics of drivers."),
		stuck:     desc("driver_stuck", "Calls of drivers that do not return although their deadline has passed."),
		proposals: desc("proposals", "Devices that were found and not adopted."),
	}, nil
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.devices, c.opens, c.reads, c.invalid, c.writes, c.notTaken, c.values, c.reports, c.calls, c.panics, c.stuck, c.proposals,
	} {
		out <- d
	}
}

// Collect sends all metrics as they are now.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.mappers {
		s := m.Stats()
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value int64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, kind, float64(value), append([]string{s.Protocol}, labels...)...)
		}
		results := func(d *prometheus.Desc, all, failed int64) {
			send(d, prometheus.CounterValue, max(all-failed, 0), "ok")
			send(d, prometheus.CounterValue, failed, "error")
		}
		for _, state := range states {
			name := state
			if name == "" {
				name = "new"
			}
			send(c.devices, prometheus.GaugeValue, int64(s.States[state]), name)
		}
		results(c.opens, s.Opens, s.OpenErrors)
		results(c.reads, s.Reads, s.ReadErrors)
		results(c.writes, s.Writes, s.WriteErrors)
		results(c.reports, s.Reports+s.ReportErrors, s.ReportErrors)
		results(c.calls, s.Calls, s.CallErrors)
		send(c.invalid, prometheus.CounterValue, s.InvalidValues)
		send(c.notTaken, prometheus.CounterValue, s.NotTaken)
		send(c.values, prometheus.CounterValue, s.Points)
		send(c.panics, prometheus.CounterValue, s.Panics)
		send(c.stuck, prometheus.GaugeValue, s.Stuck)
		send(c.proposals, prometheus.GaugeValue, s.Proposals)
	}
}

// Health answers a probe: 200 when all mappers know their devices, else 503, with the number of
// devices by protocol and state as JSON. A device that fails is no reason to restart a mapper:
// it does not count.
func Health(mappers ...*device.Mapper) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status, report := http.StatusOK, make(map[string]map[string]int)
		for _, m := range mappers {
			select {
			case <-m.Ready():
			default:
				status = http.StatusServiceUnavailable
			}
			s := m.Stats()
			report[s.Protocol] = s.States
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(report) // the prober has gone
	})
}
