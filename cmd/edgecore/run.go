package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// runCmd runs the agent. Its fields are the agent's settings.
type runCmd struct {
	kubeletConfigFlags
	storeFlags
	nodeFlags
	diskFlags
	evictionFlags
	resourceFlags
	deviceFlags
	mqttFlags
	rulesFlags
	pipelineFlags
	dmiFlags
	topologyFlags
	devicePluginFlags
	imageFlags
	upgradeFlags
	Cloud                 string            `help:"Address of the cloud's cloudcore, host:port. Default: the one that this machine joined." placeholder:"HOST:PORT"`
	Transport             string            `help:"How to reach the cloud: quic (UDP), websocket (TCP), or auto, which uses QUIC where UDP works." default:"auto" enum:"auto,quic,websocket" placeholder:"NAME"`
	RuntimeEndpoint       string            `help:"Socket of the container runtime (CRI)." default:"unix:///run/containerd/containerd.sock" placeholder:"URL" aliases:"container-runtime-endpoint"`
	CgroupDriver          string            `help:"Cgroup driver of the container runtime: systemd, cgroupfs, or auto, which asks the runtime." default:"auto" enum:"auto,systemd,cgroupfs" placeholder:"NAME"`
	NodeIP                []netip.Addr      `help:"Addresses that the node reports, the primary one first. 0.0.0.0 and :: stand for the machine's address of that family, as it is now. Default: the address of the default route, of either family." placeholder:"ADDR"`
	NodeLabels            map[string]string `help:"Labels of the node, set when it registers." placeholder:"KEY=VALUE;..."`
	NodeAnnotations       map[string]string `help:"Annotations of the node, set when it registers; none may be of the domain edgekit.io." placeholder:"KEY=VALUE;..."`
	RegisterTaints        []string          `help:"Taints that the node registers with: KEY=VALUE:EFFECT or KEY:EFFECT. Later changes are made with kubectl taint." name:"register-with-taints" placeholder:"TAINT"`
	MaxPods               int               `help:"How many pods the node may run." default:"110"`
	ClusterDNS            []netip.Addr      `help:"DNS servers of pods with the policy ClusterFirst. Default: the node's own." placeholder:"ADDR"`
	ClusterDomain         string            `help:"DNS domain of the cluster." default:"cluster.local"`
	ResolvConf            string            `help:"Resolver file with the DNS servers for pods. Default: /etc/resolv.conf or, where that has only loopback servers, the file of systemd-resolved." placeholder:"FILE"`
	PodLogDir             string            `help:"Folder of the containers' logs." default:"/var/log/pods" placeholder:"DIR"`
	KernelLog             string            `help:"File of the kernel's messages, for events of a machine that is out of memory (SystemOOM). Empty: none." default:"/dev/kmsg" placeholder:"FILE"`
	StaticPodDir          string            `help:"Folder of static pods: manifests (YAML or JSON, one pod each) that this node runs without the cloud. Empty: none." placeholder:"DIR" aliases:"pod-manifest-path"`
	SeccompDefault        bool              `help:"Use the container runtime's default seccomp profile for containers that name none." name:"seccomp-default"`
	UserNamespacesIDs     int64             `help:"How many user and group ids a pod with hostUsers: false gets: a multiple of 65536. The ids are those of the user kubelet in /etc/subuid and /etc/subgid, or else all from this number on." default:"65536" name:"user-namespaces-ids-per-pod" placeholder:"N"`
	PluginRegistryDir     string            `help:"Folder where CSI drivers and DRA drivers register: what a kubelet has as /var/lib/kubelet/plugins_registry. Default: plugins_registry in the agent's folder in DATA-DIR." name:"plugin-registry-dir" placeholder:"DIR"`
	CgroupRoot            string            `help:"Cgroup below which the pods' cgroups are made. Default: the runtime's usual place." placeholder:"CGROUP"`
	LocalAPI              bool              `help:"Serve the node's own Kubernetes API to pods, which find it by KUBERNETES_SERVICE_HOST, as programs in a cluster do. --no-local-api turns this off; the API then serves only root, on the socket DATA-DIR/api/api.sock." default:"true" negatable:"" name:"local-api"`
	LocalAPIListen        netip.AddrPort    `help:"Address on which the node's own Kubernetes API serves pods and kubectl (TLS). A link-local IPv4 address that the machine does not have is added to its loopback interface: pods reach it, and no other machine needs to. 127.0.0.1:6443 is for pods in the host's network only. Pods with IPv6 alone need an IPv6 address of this machine." default:"169.254.30.10:10550" placeholder:"IP:PORT"`
	LocalAPIRequests      int               `help:"How many requests of pods are open at the cluster's API server at a time, through the node's own API; watches may have three quarters of them. Further requests get 429." default:"256" name:"local-api-max-requests" placeholder:"N"`
	LocalAPIExpiredTokens time.Duration     `help:"How long after its end the node's own Kubernetes API accepts a pod's token while the cloud is out of reach and the token cannot be renewed. 0 means not at all." default:"720h" name:"local-api-expired-tokens"`
	LocalAPIMaxConns      int               `help:"How many connections the node's own Kubernetes API has on --local-api-listen." default:"500" name:"local-api-max-connections" placeholder:"N"`
	LocalAPIMaxPerAddress int               `help:"How many of these one address has, other than loopback." default:"100" name:"local-api-max-per-address" placeholder:"N"`
	LocalAPIServices      bool              `help:"Ask the cloud for all Services, EndpointSlices and Namespaces: for a kube-proxy and a DNS server on this node that work without the cloud, and for the Service variables of pods. An operator must allow it: kubectl label node NAME edgekit.node-restriction.kubernetes.io/services=all. They may be too much for a slow link." `
	MetricsListen         string            `help:"Where /metrics, /healthz and /readyz are served (plain HTTP, clients are not authenticated), for example 127.0.0.1:10002. Empty: not served." placeholder:"ADDR"`
	Tracing               tracing.Flags     `embed:"" prefix:"tracing-"`
	recent                program.Recent    // the end of the log
	MemoryLimit           int64             `help:"Soft limit of edgecore's own memory in MiB (GOMEMLIMIT)." default:"48" placeholder:"MIB"`
}

// Run starts every part of the agent and waits until one fails or ctx ends.
// No part waits for the cloud.
func (r *runCmd) Run(ctx context.Context, cli *cli) error {
	asked := ctx
	defer func() { cli.starts.asked = asked.Err() != nil }() // last: it may be asked while it ends
	log := cli.Log.Logger(io.MultiWriter(cli.starts.program.Log(os.Stderr), &r.recent))
	cli.logKubeletConfig(log)
	limitMemory(r.MemoryLimit)
	var group *errgroup.Group
	defer func() {
		if group == nil && asked.Err() != nil { // while it started
			cli.starts.stopped(log)
		}
	}()
	if err := waitForApproval(ctx, cli.DataDir, component(log, "identity")); err != nil || ctx.Err() != nil {
		return program.UnlessEnded(ctx, err)
	}
	runtime, err := r.runtime(ctx, log)
	if err != nil {
		return program.UnlessEnded(ctx, err)
	}
	defer runtime.Close()
	n, err := openNode(cli.DataDir, r.Cloud, r.Transport, r.currentKeyFile(cli), log)
	if err != nil {
		return err
	}
	defer n.Close()
	if n.tracer, err = r.Tracing.New(tracing.Config{
		Service: "edgecore", Version: program.Version(), Instance: n.instance, Node: n.name, Queue: traceQueue, Logger: component(log, "tracing"),
	}); err != nil {
		return err
	}
	all, err := r.assemble(ctx, n, cli, runtime, log)
	if err != nil {
		return program.UnlessEnded(ctx, err)
	}
	log.Info("edgecore starts", "version", program.Version(), "node", n.name, "instance", n.instance, "cloud", n.cloud, "transport", r.Transport, "data", cli.DataDir)
	group, ctx = errgroup.WithContext(ctx)
	for name, run := range all {
		group.Go(func() error {
			err := run(ctx)
			if err == nil && ctx.Err() == nil {
				err = fmt.Errorf("%s ended unexpectedly", name)
			}
			return err
		})
	}
	err = group.Wait()
	if cli.starts.again = errors.Is(err, upgrade.ErrRestart); cli.starts.again {
		err = nil
	}
	if err == nil {
		n.upgrades.stopped(context.WithoutCancel(ctx), log)
	}
	log.Info("edgecore ends; its containers keep running", "node", n.name)
	return err
}

// runtime connects to the container runtime. A wrong socket is an error, so that the operator
// sees it at once. A runtime that is not up yet, as after a power cut, is not: devices and
// the link must not wait for it.
func (r *runCmd) runtime(ctx context.Context, log *slog.Logger) (*cri.Client, error) {
	runtime, err := cri.New(cri.Config{Socket: r.RuntimeEndpoint, CgroupDriver: r.CgroupDriver, Logger: component(log, "cri")})
	if err != nil {
		return nil, &program.UsageError{Setting: "runtime-endpoint", Reason: err.Error()}
	}
	err = runtime.Check(ctx)
	if socket, ok := errors.AsType[*cri.SocketError](err); ok && socket.Temporary {
		log.Warn("the container runtime is not up yet; pods wait for it, and everything else runs", "err", err)
		return runtime, nil
	}
	if err != nil {
		runtime.Close()
		return nil, err
	}
	return runtime, nil
}

func component(log *slog.Logger, name string) *slog.Logger { return log.With("component", name) }
