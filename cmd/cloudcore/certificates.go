package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
)

// trustFlags are cloudcore's settings about certificates.
type trustFlags struct {
	CACert          string        `help:"Certificate of the authority to use instead of one that cloudcore makes. The first start stores it, with its key, in the secret edgekit-ca. Later starts must give the same one or none." placeholder:"FILE" name:"ca-cert"`
	CAKey           string        `help:"Key of --ca-cert." placeholder:"FILE" name:"ca-key"`
	CertificateLife time.Duration `help:"How long a node's certificate is valid. A token (edgectl token create --certificate-life) and, before it, the label edgekit.node-restriction.kubernetes.io/certificate-life of a Node (a duration such as 720h) say otherwise for one node." default:"2160h"`
	LifeMin         time.Duration `help:"The shortest life that a token or a label can give." default:"1h" name:"certificate-life-min"`
	LifeMax         time.Duration `help:"The longest life that a token or a label can give." default:"8760h" name:"certificate-life-max"`
	RenewAt         float64       `help:"Share of its life after which a node renews its certificate: 0.1 to 0.9." default:"0.67" name:"certificate-renew-at"`
	Approve         string        `help:"Which joins wait until somebody runs 'edgectl node approve NAME' (or 'kubectl certificate approve'): all, or token, those with a token of 'edgectl token create --approve'." default:"token" enum:"all,token" name:"join-approval"`
	RenewGrace      time.Duration `help:"How long after its end a node may still renew its certificate with its old key. After that the node must join again. 0 means not at all." default:"2160h"`
}

// trust decides which machines are nodes: the certificate authorities, joins and
// renewals, and revoked keys.
type trust struct {
	store   *nodeidentity.Store
	keyring *join.Keyring
	joins   *join.Handler
	watcher *nodeidentity.Watcher
	log     *slog.Logger
}

// newTrust reads the authorities, or makes or imports one.
func newTrust(ctx context.Context, r *runCmd, client kubernetes.Interface, log *slog.Logger) (*trust, error) {
	log = log.With("component", "join")
	t := &trust{log: log}
	var err error
	if t.store, err = nodeidentity.New(nodeidentity.Config{Client: client, Namespace: r.Namespace}); err != nil {
		return nil, err
	}
	authorities, err := r.Trust.authorities(ctx, t.store)
	if err != nil {
		return nil, err
	}
	hosts, err := serverHosts(r.Advertise)
	if err != nil {
		return nil, err
	}
	if t.keyring, err = join.NewKeyring(join.KeyringConfig{Authorities: authorities, Hosts: hosts, Logger: log}); err != nil {
		return nil, err
	}
	grace := r.Trust.RenewGrace
	if grace == 0 {
		grace = -1 // 0 is the library's default; the flag has its own
	}
	if err := r.Trust.check(); err != nil {
		return nil, err
	}
	t.joins, err = join.NewHandler(join.HandlerConfig{
		Keyring: t.keyring, Tokens: t.store, Names: t.store, Ledger: t.store, Revoked: t.store,
		Approvals: t.store, ApproveAll: r.Trust.Approve == "all",
		Life: r.Trust.CertificateLife, Lives: t.store, MinLife: r.Trust.LifeMin, MaxLife: r.Trust.LifeMax, RenewAt: r.Trust.RenewAt,
		Grace: grace, Logger: log,
	})
	if err != nil {
		return nil, &program.UsageError{Setting: "certificate-life", Reason: err.Error()}
	}
	t.watcher, err = t.store.Watch(nodeidentity.WatchConfig{Logger: log})
	return t, err
}

// check refuses lives that contradict each other.
func (r *trustFlags) check() error {
	switch {
	case r.LifeMin < 10*time.Minute:
		return &program.UsageError{Setting: "certificate-life-min", Reason: "must be 10m or more: nodes need time to renew"}
	case r.LifeMax < r.LifeMin:
		return &program.UsageError{Setting: "certificate-life-max", Reason: "is less than certificate-life-min"}
	case r.CertificateLife < r.LifeMin || r.CertificateLife > r.LifeMax:
		return &program.UsageError{Setting: "certificate-life", Reason: "must be certificate-life-min to certificate-life-max: change one of them"}
	case r.RenewAt < 0.1 || r.RenewAt > 0.9:
		return &program.UsageError{Setting: "certificate-renew-at", Reason: "must be 0.1 to 0.9"}
	}
	return nil
}

// decisionsEvery is how often decisions about joins are kept. The cluster removes a request
// an hour after it was decided.
const decisionsEvery = 10 * time.Minute

// keepDecisions keeps what operators decide about machines that do not ask meanwhile, until
// ctx ends. One of the cloudcores that run does it.
func (t *trust) keepDecisions(ctx context.Context, mine func(work string) bool) error {
	tick := time.NewTicker(decisionsEvery)
	defer tick.Stop()
	for {
		if mine("approvals") { // else its turn comes when the other cloudcore has gone
			if err := t.store.KeepDecisions(ctx); err != nil && ctx.Err() == nil {
				t.log.Warn("decisions about machines that wait for approval were not kept: the role of this cloudcore may be of an older version, see 'edgectl manifest'", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// newGuard puts a guard in front of the directory of nodes. disconnect ends the
// session of a node that is revoked.
func (t *trust) newGuard(directory hub.Directory, disconnect func(string, *hub.Error) error, registry *prometheus.Registry) (*join.Guard, error) {
	guard, err := join.NewGuard(join.GuardConfig{
		Directory: directory, Disconnect: disconnect, Names: t.store, Ready: t.watcher.Synced(), Logger: t.log,
	})
	if err != nil {
		return nil, err
	}
	metrics, err := joinmetrics.NewCloud(joinmetrics.Cloud{Handler: t.joins, Keyring: t.keyring, Guard: guard})
	if err != nil {
		return nil, err
	}
	return guard, errors.Join(registry.Register(metrics), registry.Register(newCertificateMetrics(func() nodeidentity.CertificateStats {
		return t.watcher.Certificates(time.Now())
	})))
}

// newCertificateMetrics makes the metrics of nodes' certificates, for alerts.
func newCertificateMetrics(stats func() nodeidentity.CertificateStats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_", stats)
	m.Gauge("node_certificates_valid", "Nodes whose certificate is good for longer than a week.", func(s nodeidentity.CertificateStats) float64 { return float64(s.Valid) })
	m.Gauge("node_certificates_ending", "Nodes whose certificate ends within a week.", func(s nodeidentity.CertificateStats) float64 { return float64(s.Ending) })
	m.Gauge("node_certificates_ended", "Nodes whose certificate has ended; they renew it when they are back, within --renew-grace.", func(s nodeidentity.CertificateStats) float64 { return float64(s.Ended) })
	m.Gauge("joins_waiting", "Machines that wait for an approval (edgectl node list --pending).", func(s nodeidentity.CertificateStats) float64 { return float64(s.Waiting) })
	return m
}

// authorities returns the cluster's authorities; --ca-cert and --ca-key become
// the first of them.
func (r *trustFlags) authorities(ctx context.Context, store *nodeidentity.Store) (join.Authorities, error) {
	switch {
	case r.CACert == "" && r.CAKey == "":
		return store.Authorities(ctx)
	case r.CACert == "":
		return join.Authorities{}, &program.UsageError{Setting: "ca-cert", Reason: "is missing beside --ca-key: give both"}
	case r.CAKey == "":
		return join.Authorities{}, &program.UsageError{Setting: "ca-key", Reason: "is missing beside --ca-cert: give both"}
	}
	cert, err := os.ReadFile(r.CACert)
	if err != nil {
		return join.Authorities{}, &program.UsageError{Setting: "ca-cert", Reason: err.Error()}
	}
	key, err := os.ReadFile(r.CAKey)
	if err != nil {
		return join.Authorities{}, &program.UsageError{Setting: "ca-key", Reason: err.Error()}
	}
	given, err := join.LoadCA(cert, key)
	if err != nil {
		return join.Authorities{}, &program.UsageError{Setting: "ca-cert", Reason: err.Error()}
	}
	return store.Import(ctx, given)
}

// changes has the keyring and the guard follow what other programs change.
func (t *trust) changes(guard *join.Guard) nodeidentity.Changes {
	return nodeidentity.Changes{
		Authorities: func(a join.Authorities) {
			if err := t.keyring.Update(a); err != nil {
				t.log.Error("certificate authorities cannot be changed", "err", err)
			}
		},
		RevokedBecause: guard.RevokeBecause,
		Revoked: func(keyHash string, revoked bool) {
			if !revoked {
				guard.Restore(keyHash)
			}
		},
		Names: guard.Hold,
	}
}

// handle mounts what machines ask without a link.
func (t *trust) handle(mux *http.ServeMux) {
	for _, path := range []string{join.JoinPath, join.RenewPath, join.TrustPath} {
		mux.Handle(path, t.joins)
	}
}

// tls is the configuration of everything that nodes connect to.
func (t *trust) tls() *tls.Config { return t.keyring.ServerTLS() }
