package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/pipeline/host"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
)

// pipelineFlags are the settings of pipelines (pipelines.edgekit.io).
type pipelineFlags struct {
	Pipelines        bool           `help:"Run the cluster's Pipelines for this node, in the program edgepipe, which edgecore starts while there is one. --no-pipelines turns it off." default:"true" negatable:""`
	PipelinesProgram string         `help:"The file of edgepipe. Default: edgepipe beside the installed edgecore, or else /usr/bin/edgepipe." placeholder:"FILE"`
	PipelinesFiles   string         `help:"Folder for sources and sinks of kind file: Pipelines read and write files in it. Empty: they have none." placeholder:"DIR"`
	PipelinesListen  netip.AddrPort `help:"Where programs on this node reach sources of kind http; a loopback address, for example 127.0.0.1:9070. Empty: nowhere." placeholder:"IP:PORT"`
	PipelinesMemory  int            `help:"Soft limit of edgepipe's memory in MiB (GOMEMLIMIT)." default:"64" placeholder:"MIB"`
}

// pipelinesProgram is the name of the program's file.
const pipelinesProgram = "edgepipe"

// programFile is where edgepipe is, or should be. base is the edgecore that was installed at this
// machine, "" if it is not known: one that an upgrade has downloaded has no edgepipe beside it.
func (f *pipelineFlags) programFile(base string) (string, error) {
	if f.PipelinesProgram != "" {
		if !filepath.IsAbs(f.PipelinesProgram) {
			return "", &program.UsageError{Setting: "pipelines-program", Reason: f.PipelinesProgram + " is no absolute path"}
		}
		return f.PipelinesProgram, nil
	}
	packaged := "/usr/bin/" + pipelinesProgram
	places := []string{packaged}
	if own, err := os.Executable(); err == nil {
		places = []string{filepath.Join(filepath.Dir(own), pipelinesProgram), packaged}
	}
	if filepath.IsAbs(base) {
		places = append([]string{filepath.Join(filepath.Dir(base), pipelinesProgram)}, places...)
	}
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place, nil
		}
	}
	return places[0], nil
}

// check refuses wrong settings.
func (f *pipelineFlags) check() error {
	switch {
	case f.PipelinesListen.IsValid() && !f.PipelinesListen.Addr().IsLoopback():
		return &program.UsageError{Setting: "pipelines-listen", Reason: f.PipelinesListen.String() + " is no loopback address, and clients there are not authenticated"}
	case f.PipelinesFiles != "" && !filepath.IsAbs(f.PipelinesFiles):
		return &program.UsageError{Setting: "pipelines-files", Reason: f.PipelinesFiles + " is no absolute path"}
	case f.PipelinesMemory < 16 || f.PipelinesMemory > 1<<20:
		return &program.UsageError{Setting: "pipelines-memory", Reason: fmt.Sprintf("%d MiB: give a number from 16 to 1048576", f.PipelinesMemory)}
	}
	return nil
}

// pipelinesFolder is the folder that edgecore and edgepipe share.
func (n *node) pipelinesFolder() string { return filepath.Join(n.data, wire.Folder) }

// pipelinesClients begins the client identifiers of edgepipe's MQTT sessions.
const pipelinesClients = "edgepipe/"

// addPipelines makes the part that keeps edgepipe, and registers its metrics.
func (r *runCmd) addPipelines(all parts, n *node, mgr *manager.Manager, ends *hub.Endpoints, log *slog.Logger) error {
	if !r.Pipelines {
		return nil
	}
	if err := r.check(); err != nil {
		return err
	}
	file, err := r.programFile(n.base)
	if err != nil {
		return err
	}
	mqtt, own, err := r.pipelinesMQTT(n)
	if err != nil {
		return err
	}
	cfg := host.Config{
		Store: n.store, Reporter: mgr, Node: n.name, Folder: n.pipelinesFolder(), Program: file, Version: program.Version(), MQTT: mqtt,
		EndSession: func(ctx context.Context, clientID string) error {
			c := own
			c.ClientID = clientID
			return client.EndSession(ctx, c)
		},
		API: filepath.Join(n.data, apiDir, apiSocket), Logs: r.PodLogDir, Files: r.PipelinesFiles, MemoryMiB: r.PipelinesMemory,
		Logger: component(log, "pipelines"),
	}
	if r.PipelinesListen.IsValid() {
		cfg.Listen = r.PipelinesListen.String()
	}
	h, err := host.New(cfg)
	if err != nil {
		return err
	}
	ends.Outbox = manager.Outboxes(ends.Outbox, h.Outbox())
	all["pipelines"] = h.Run
	n.metrics.MustRegister(newPipelineMetrics(h.Stats), &programScrape{socket: filepath.Join(n.pipelinesFolder(), wire.Socket), running: func() bool { return h.Stats().Running }})
	return nil
}

// pipelinesMQTT is how edgepipe reaches the node's broker, and how edgecore itself does to end
// sessions there.
func (r *runCmd) pipelinesMQTT(n *node) (wire.MQTT, client.Config, error) {
	m := wire.MQTT{Session: pipelinesClients + n.name + "/"}
	if r.MQTTMode != bus.External {
		m.URL = "unix://" + n.mqttSocket
		return m, client.Config{URL: m.URL}, nil
	}
	m.URL, m.Username, m.CA, m.Cert, m.Key = r.MQTTBroker, r.MQTTBrokerUsername, r.MQTTBrokerCA, r.MQTTBrokerCert, r.MQTTBrokerKey
	if r.MQTTBrokerPasswordFile != "" {
		password, err := os.ReadFile(r.MQTTBrokerPasswordFile)
		if err != nil {
			return m, client.Config{}, &program.UsageError{Setting: "mqtt-broker-password-file", Reason: err.Error()}
		}
		m.Password = bytes.TrimRight(password, "\r\n")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := loadPair(config, "mqtt-broker-cert", m.Cert, m.Key); err != nil {
		return m, client.Config{}, err
	}
	if m.CA != "" {
		pool, err := loadPool("mqtt-broker-ca", m.CA)
		if err != nil {
			return m, client.Config{}, err
		}
		config.RootCAs = pool
	}
	return m, client.Config{URL: m.URL, TLS: config, Username: m.Username, Password: m.Password}, nil
}

// listenForPipelines has the embedded broker listen on a socket for edgepipe, which may use all
// topics: only root may open it.
func listenForPipelines(cfg *broker.Config, n *node, users *access.Access) error {
	if n.mqttSocket == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(n.mqttSocket), 0o700); errors.Is(err, syscall.EROFS) {
		n.log.Warn("the disk is read-only, and pipelines had no folder on it yet: their MQTT works after the next start of edgecore", "folder", filepath.Dir(n.mqttSocket))
		return nil
	} else if err != nil {
		return err
	}
	cfg.Listen = append(cfg.Listen[:len(cfg.Listen):len(cfg.Listen)], "unix://"+n.mqttSocket)
	cfg.Access = &pipelinesAccess{Access: users, socket: n.mqttSocket}
	return nil
}

// pipelinesUser is the user of edgepipe's sessions at the embedded broker.
const pipelinesUser = "edgekit:pipelines"

// pipelinesProof marks the login of edgepipe.
type pipelinesProof struct{}

// pipelinesAccess lets edgepipe in at its socket, and nobody else with its client identifiers.
type pipelinesAccess struct {
	*access.Access
	socket string
}

var _ broker.Revoker = (*pipelinesAccess)(nil)

// errPipelinesClient is why a client is refused.
var errPipelinesClient = errors.New("client identifiers that begin with " + pipelinesClients + " are for the node's pipelines")

// Authenticate decides by the socket.
func (a *pipelinesAccess) Authenticate(ctx context.Context, login broker.Login) (broker.User, error) {
	at, ok := login.Local.(*net.UnixAddr)
	here, reserved := ok && at.Name == a.socket, strings.HasPrefix(login.ClientID, pipelinesClients)
	switch {
	case here && reserved:
		return broker.User{Name: pipelinesUser, Proof: pipelinesProof{}}, nil
	case here || reserved:
		return broker.User{}, errPipelinesClient
	}
	return a.Access.Authenticate(ctx, login)
}

// Allow allows edgepipe everything: it confines each Pipeline itself.
func (a *pipelinesAccess) Allow(user broker.User, topic string, action broker.Action) bool {
	if _, ok := user.Proof.(pipelinesProof); ok {
		return true
	}
	return a.Access.Allow(user, topic, action)
}

// Valid reports whether a login still holds.
func (a *pipelinesAccess) Valid(user broker.User, clientID string) bool {
	if _, ok := user.Proof.(pipelinesProof); ok {
		return true
	}
	return a.Access.Valid(user, clientID)
}

// newPipelineMetrics makes edgecore's own metrics of pipelines.
func newPipelineMetrics(stats func() host.Stats) prometheus.Collector {
	m := statsmetrics.New("edgecore_pipelines_", stats)
	m.Gauge("active", "Pipelines of this node.", func(s host.Stats) float64 { return float64(s.Pipelines) })
	m.Gauge("program_running", "1 while edgepipe runs.", func(s host.Stats) float64 {
		if s.Running {
			return 1
		}
		return 0
	})
	m.Counter("program_restarts_total", "How often edgepipe was started again.", func(s host.Stats) float64 { return float64(s.Restarts) })
	m.Gauge("waiting_batches", "Batches of events that are stored for the cloud.", func(s host.Stats) float64 { return float64(s.Waiting) })
	m.Counter("batches_total", "Batches of events stored for the cloud.", func(s host.Stats) float64 { return float64(s.Batches) })
	m.Counter("refused_batches_total", "Batches that edgepipe keeps for later, because enough wait for the cloud.", func(s host.Stats) float64 { return float64(s.Refused) })
	return m
}

// programScrape has edgepipe's metrics, while it runs, among edgecore's.
type programScrape struct {
	socket  string
	running func() bool
}

// Bounds of edgepipe's answer.
const (
	scrapeTimeout = 2 * time.Second
	maxScrape     = 4 << 20
)

// Describe describes nothing: which metrics there are depends on the Pipelines.
func (s *programScrape) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. Without an answer there are no metrics of edgepipe.
func (s *programScrape) Collect(ch chan<- prometheus.Metric) {
	if !s.running() {
		return
	}
	all, err := s.scrape()
	if err != nil {
		return // edgecore_pipelines_program_running says whether it runs
	}
	for _, m := range all {
		if !strings.HasPrefix(m.Name, "edgepipe_") {
			continue
		}
		names := slices.Sorted(maps.Keys(m.Labels))
		values := make([]string, 0, len(names))
		for _, name := range names {
			values = append(values, m.Labels[name])
		}
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		if one, err := prometheus.NewConstMetric(prometheus.NewDesc(m.Name, m.Help, names, nil), kind, m.Value, values...); err == nil {
			ch <- one
		}
	}
}

func (s *programScrape) scrape() ([]wire.Metric, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: scrapeTimeout}
	resp, err := client.Get("http://edgepipe" + wire.PathMetrics) //nolint:noctx // Collect has no context; the client has a timeout
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []wire.Metric
	return all, json.NewDecoder(io.LimitReader(resp.Body, maxScrape)).Decode(&all)
}
