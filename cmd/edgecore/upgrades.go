package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
)

// upgradeFlags are the settings of fleet jobs (operations.kubeedge.io) and of upgrades.
type upgradeFlags struct {
	Upgrades          bool     `help:"Upgrade edgecore, and change its settings, as jobs of the cloud or somebody at the machine ask for it. What is downloaded must be signed by whom --upgrade-trust says. --no-upgrades turns it off; images are still pulled ahead." default:"true" negatable:""`
	UpgradeTrust      string   `help:"Folder of whom this node trusts with its own program: trustpolicy.json and x509 as notation has them, and *.pub, the public keys of key pairs. Without anything in it upgrades are refused." default:"/etc/edgekit/trust" placeholder:"DIR"`
	UpgradeRepository string   `help:"Repository of the artefacts of jobs that name neither image nor artifact, HOST/PATH. Empty: such jobs are refused." placeholder:"REPOSITORY"`
	UpgradePlainHTTP  []string `help:"Registries and servers, HOST or HOST:PORT, that artefacts are fetched from without TLS. They are signed all the same." name:"upgrade-plain-http" placeholder:"HOST"`
}

// upgrades is what replaces the program and its settings; each is nil if that is turned off.
type upgrades struct {
	programs *upgrade.Upgrader
	settings *upgrade.Settings
	runner   *jobs.Runner
}

// stopped notes that the program has ended in order.
func (u *upgrades) stopped(ctx context.Context, log *slog.Logger) {
	if u == nil || u.programs == nil {
		return
	}
	if err := errors.Join(u.programs.Stopped(ctx), u.settings.Stopped(ctx)); err != nil {
		log.Warn("it cannot be noted that a program on trial ends in order: the next start takes it back", "err", err)
	}
}

// newUpgrades makes what does the jobs of the node.
func (r *runCmd) newUpgrades(n *node, cli *cli, mgr *manager.Manager, agent *edged.Agent, objects *kube.Client, log *slog.Logger) (*upgrades, error) {
	u := &upgrades{}
	cfg := jobs.Config{
		Store: n.store, Reporter: mgr, Images: agent, Version: program.Version(), Repository: r.UpgradeRepository, DataDir: n.data,
		Pods: func() (map[string]bool, bool) {
			select {
			case <-agent.Ready():
				return podReadiness(agent.Pods()), true
			default:
				return nil, false
			}
		},
		Linked: func() bool { return mgr.Connection().Connected },
		Event:  nodeEvents(n, objects), Logger: component(log, "jobs"),
	}
	if r.Upgrades {
		if err := r.addPrograms(u, n, cli, mgr, agent, log); err != nil {
			return nil, err
		}
		cfg.Programs, cfg.Restart = u.programs, u.programs.Restart
		cfg.Settings = &settingsFile{Settings: u.settings, args: os.Args[1:]}
	}
	var err error
	u.runner, err = jobs.New(cfg)
	return u, err
}

// addPrograms makes what replaces programs and settings.
func (r *runCmd) addPrograms(u *upgrades, n *node, cli *cli, mgr *manager.Manager, agent *edged.Agent, log *slog.Logger) error {
	if !filepath.IsAbs(r.UpgradeTrust) {
		return &program.UsageError{Setting: "upgrade-trust", Reason: fmt.Sprintf("%q is no absolute path", r.UpgradeTrust)}
	}
	if strings.ContainsAny(r.UpgradeRepository, " @") || r.UpgradeRepository != "" && !strings.Contains(r.UpgradeRepository, "/") {
		return &program.UsageError{Setting: "upgrade-repository", Reason: fmt.Sprintf("%.200q is no repository: give HOST/PATH without a tag", r.UpgradeRepository)}
	}
	log = component(log, "upgrade")
	fetcher, err := artifact.New(artifact.Config{Trust: r.UpgradeTrust, Now: n.clock.Now, PlainHTTP: r.UpgradePlainHTTP, Credentials: registryCredentials(r.configFiles()), Logger: log})
	if err != nil {
		return err
	}
	linked := func() bool { return mgr.Connection().Connected }
	pods := func() map[string]bool { return podReadiness(agent.Pods()) }
	check := func() error { return n.store.Stats().Failure }
	formats := make([]int, 0, badgerstore.Format)
	for i := 1; i <= badgerstore.Format; i++ {
		formats = append(formats, i)
	}
	u.programs, err = upgrade.New(upgrade.Config{
		DataDir: n.data, Start: cli.starts.program, Fetcher: fetcher, Linked: linked, Pods: pods, Check: check, Logger: log, Now: n.clock.Now,
		Release: upgrade.Release{Version: program.Version(), StoreFormat: badgerstore.Format, StoreFormatsRead: formats, Protocol: hub.Protocol},
	})
	if err != nil {
		return err
	}
	u.settings, err = upgrade.NewSettings(upgrade.SettingsConfig{
		DataDir: n.data, Start: cli.starts.settings, Linked: linked, Pods: pods, Check: check, Logger: log, Now: n.clock.Now,
	})
	return err
}

// registryCredentials finds the node's own credentials for a registry or server.
func registryCredentials(files image.ConfigFiles) func(context.Context, string) (artifact.Credentials, error) {
	return func(ctx context.Context, host string) (artifact.Credentials, error) {
		ref, err := image.Parse(host + "/node")
		if err != nil {
			return artifact.Credentials{}, nil // a server whose name no registry has: it has no credentials
		}
		all, err := files.Credentials(ctx, nil, ref)
		if len(all) == 0 {
			return artifact.Credentials{}, err
		}
		return artifact.Credentials{Username: all[0].Username, Password: all[0].Password, Token: all[0].IdentityToken}, nil
	}
}

// addTo adds what runs.
func (u *upgrades) addTo(all parts) {
	all["jobs"] = u.runner.Run
	if u.programs != nil {
		all["upgrades"], all["settings"] = u.programs.Run, u.settings.Run
	}
}

// podReadiness says which pods are ready. Pods that have ended are not to run any more.
func podReadiness(pods []*corev1.Pod) map[string]bool {
	out := make(map[string]bool, len(pods))
	for _, p := range pods {
		if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		out[p.Namespace+"/"+p.Name] = nodestate.PodReady(p)
	}
	return out
}

// nodeEvents records events of the Node about its jobs.
func nodeEvents(n *node, objects *kube.Client) func(kind, reason, message string) {
	return func(kind, reason, message string) {
		event := storeEvent(n.name, reason, message, metav1.Now())
		event.Type = kind
		// An event is the least of what is stored then, and it must not hold up a job.
		if err := objects.Event(context.Background(), event); err != nil {
			n.log.Warn("the event about a job could not be stored", "reason", reason, "err", err)
		}
	}
}

func newJobMetrics(stats func() jobs.Stats) prometheus.Collector {
	m := statsmetrics.New("edgecore_jobs_", stats)
	m.Gauge("present", "Fleet jobs that the node has, with those that have ended and are still there.", func(s jobs.Stats) float64 { return float64(s.Jobs) })
	m.Gauge("waiting_confirmation", "Jobs that wait for somebody at the machine.", func(s jobs.Stats) float64 { return float64(s.Waiting) })
	m.Gauge("pinned_images", "Images that stay on the node for jobs.", func(s jobs.Stats) float64 { return float64(s.Pinned) })
	m.Counter("successful_total", "Jobs that have ended well, since the start.", func(s jobs.Stats) float64 { return float64(s.Successful) })
	m.Counter("failed_total", "Jobs that have failed before the node was changed, since the start.", func(s jobs.Stats) float64 { return float64(s.Failed) })
	m.Counter("rolled_back_total", "Jobs after which the node went back to what it was, since the start.", func(s jobs.Stats) float64 { return float64(s.RolledBack) })
	return m
}

// pinnedImages lists the images that stay on the node for jobs.
func (n *node) pinnedImages() []string { return n.upgrades.runner.PinnedImages() }
