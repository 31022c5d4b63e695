package joinmetrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/hub/join"
)

var (
	requests = prometheus.NewDesc("edgekit_join_requests_total",
		"Requests for certificates by path (/v1/join, /v1/renew, /v1/ca) and result (ok, or the code of the error).",
		[]string{"path", "result"}, nil)
	expiry = prometheus.NewDesc("edgekit_certificate_expiry_timestamp_seconds",
		"When a certificate ends, as Unix time. ca: the authority that signs; server: of the port that nodes reach; node: this node's own; trusted: the last of the authorities that this node trusts.",
		[]string{"certificate"}, nil)
	authorities = prometheus.NewDesc("edgekit_certificate_authorities",
		"Certificate authorities by stage; only issuer outside a rotation.", []string{"stage"}, nil)
	revoked = prometheus.NewDesc("edgekit_revoked_keys",
		"Keys of nodes that are revoked.", nil, nil)
	ended = prometheus.NewDesc("edgekit_revoked_sessions_ended_total",
		"Sessions that were ended because their key was revoked.", nil, nil)
	refused = prometheus.NewDesc("edgekit_revoked_connections_refused_total",
		"Connections that were refused because their key is revoked.", nil, nil)
	renewals = prometheus.NewDesc("edgekit_identity_renewals_total",
		"Renewals of this node's certificate by result (ok, failed).", []string{"result"}, nil)
)

// Cloud is what a cloud's Collector reads. All fields are required.
type Cloud struct {
	Handler *join.Handler
	Keyring *join.Keyring
	Guard   *join.Guard
}

// NewCloud makes a Collector for a cloud.
func NewCloud(c Cloud) (prometheus.Collector, error) {
	if c.Handler == nil || c.Keyring == nil || c.Guard == nil {
		return nil, errors.New("joinmetrics: Cloud.Handler, Keyring and Guard are required")
	}
	return cloud{c}, nil
}

type cloud struct{ Cloud }

func (c cloud) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requests, expiry, authorities, revoked, ended, refused} {
		ch <- d
	}
}

func (c cloud) Collect(ch chan<- prometheus.Metric) {
	for _, n := range c.Handler.Counts() {
		ch <- prometheus.MustNewConstMetric(requests, prometheus.CounterValue, float64(n.N), n.Path, n.Result)
	}
	issuer, server := c.Keyring.Expiry()
	sendExpiry(ch, "ca", issuer)
	sendExpiry(ch, "server", server)
	stages := make(map[string]int)
	for _, a := range c.Keyring.Authorities().List() {
		stages[a.Stage]++
	}
	for stage, n := range stages {
		ch <- prometheus.MustNewConstMetric(authorities, prometheus.GaugeValue, float64(n), stage)
	}
	s := c.Guard.Stats()
	ch <- prometheus.MustNewConstMetric(revoked, prometheus.GaugeValue, float64(s.Revoked))
	ch <- prometheus.MustNewConstMetric(ended, prometheus.CounterValue, float64(s.Ended))
	ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(s.Refused))
}

// NewNode makes a Collector for a node's Identity, which is required.
func NewNode(id *join.Identity) (prometheus.Collector, error) {
	if id == nil {
		return nil, errors.New("joinmetrics: an Identity is required")
	}
	return node{id}, nil
}

type node struct{ id *join.Identity }

func (n node) Describe(ch chan<- *prometheus.Desc) {
	ch <- expiry
	ch <- renewals
}

func (n node) Collect(ch chan<- prometheus.Metric) {
	s := n.id.Stats()
	sendExpiry(ch, "node", s.Certificate)
	sendExpiry(ch, "trusted", s.Authority)
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(s.Renewed), "ok")
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(s.Failed), "failed")
}

// sendExpiry sends nothing for a certificate that does not exist.
func sendExpiry(ch chan<- prometheus.Metric, certificate string, at time.Time) {
	if !at.IsZero() {
		ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(at.Unix()), certificate)
	}
}
