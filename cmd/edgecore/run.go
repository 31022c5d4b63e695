package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/cri"
)

// runCmd runs the agent. Its fields are the agent's settings.
type runCmd struct {
	storeFlags
	Cloud                 string            `help:"Address of the cloud's cloudcore, host:port. Default: the one that this machine joined." placeholder:"HOST:PORT"`
	Transport             string            `help:"How to reach the cloud: quic (UDP), websocket (TCP), or auto, which takes QUIC where UDP gets through." default:"auto" enum:"auto,quic,websocket" placeholder:"NAME"`
	RuntimeEndpoint       string            `help:"Socket of the container runtime (CRI)." default:"unix:///run/containerd/containerd.sock" placeholder:"URL"`
	CgroupDriver          string            `help:"How the container runtime makes cgroups: systemd, cgroupfs, or auto, which finds out." default:"auto" enum:"auto,systemd,cgroupfs" placeholder:"NAME"`
	NodeIP                []netip.Addr      `help:"Addresses that the node reports. Default: the one of the default route." placeholder:"ADDR"`
	NodeLabels            map[string]string `help:"Labels of the node, set when it registers." placeholder:"KEY=VALUE;..."`
	NodeAnnotations       map[string]string `help:"Annotations of the node, set when it registers; none of the domain edgekit.io." placeholder:"KEY=VALUE;..."`
	RegisterTaints        []string          `help:"Taints that the node registers with: KEY=VALUE:EFFECT or KEY:EFFECT. Later changes are made with kubectl taint." name:"register-with-taints" placeholder:"TAINT"`
	MaxPods               int               `help:"How many pods the node takes." default:"110"`
	ClusterDNS            []netip.Addr      `help:"DNS servers of pods with the policy ClusterFirst. Default: the node's own." placeholder:"ADDR"`
	ClusterDomain         string            `help:"DNS domain of the cluster." default:"cluster.local"`
	ResolvConf            string            `help:"Resolver file that pods get their DNS servers from. Default: /etc/resolv.conf or, where that has only loopback servers, the file of systemd-resolved." placeholder:"FILE"`
	PodLogDir             string            `help:"Folder of the containers' logs." default:"/var/log/pods" placeholder:"DIR"`
	StaticPodDir          string            `help:"Folder of manifests (YAML, JSON; one pod each) of pods that this node runs with no cloud involved. Empty: none." placeholder:"DIR"`
	OfflineImages         bool              `help:"Start containers whose pull policy is Always with the image that the node has while its registry is out of reach. A pod gets it only with credentials that this image was pulled with before. --no-offline-images turns it off." default:"true" negatable:""`
	SeccompDefault        bool              `help:"Give containers that name no seccomp profile the container runtime's default one instead of none." name:"seccomp-default"`
	ImageVerification     string            `help:"Which images of the node a pod may have that does not pull them, by its policy: NeverVerify all; NeverVerifyPreloadedImages those that were not pulled with credentials, others only with one of these; AlwaysVerify those that were pulled with none or with its own. As the kubelet's imagePullCredentialsVerificationPolicy." default:"NeverVerifyPreloadedImages" enum:"NeverVerify,NeverVerifyPreloadedImages,AlwaysVerify" name:"image-pull-credentials-verification"`
	PluginRegistryDir     string            `help:"Folder where CSI drivers register: what a kubelet has as /var/lib/kubelet/plugins_registry. Default: plugins_registry in the agent's folder in DATA-DIR." name:"plugin-registry-dir" placeholder:"DIR"`
	CgroupRoot            string            `help:"Cgroup below which the pods' cgroups are made. Default: the runtime's usual place." placeholder:"CGROUP"`
	LocalAPIListen        netip.AddrPort    `help:"Where the node's own Kubernetes API serves its pods and kubectl (TLS): 127.0.0.1:6443 for pods in the host's network only, or another address of this machine. Nothing serves root alone, on the socket DATA-DIR/api/api.sock." placeholder:"IP:PORT"`
	LocalAPIExpiredTokens time.Duration     `help:"How long after its end a pod's token is still taken by the node's own Kubernetes API while the cloud is away and nobody can renew it. 0 means not at all." default:"720h" name:"local-api-expired-tokens"`
	LocalAPIServices      bool              `help:"Have the cloud send all Services, EndpointSlices and Namespaces, for a kube-proxy and a DNS server on this node that work without the cloud, and for the variables that tell pods of Services. An operator must let the node have them: kubectl label node NAME edgekit.node-restriction.kubernetes.io/services=all. Small links may not want them." `
	MQTTMode              bus.Mode          `help:"Which MQTT broker devices and apps use: internal (embedded in edgecore), external, or both." default:"internal" placeholder:"MODE"`
	MQTTListen            string            `help:"Where the embedded MQTT broker listens." default:"tcp://127.0.0.1:1884" placeholder:"URL"`
	MQTTBroker            string            `help:"The external MQTT broker." default:"tcp://127.0.0.1:1883" placeholder:"URL"`
	MetricsListen         string            `help:"Where /metrics is served (plain HTTP), for example 127.0.0.1:10002. Empty: not served." placeholder:"ADDR"`
	MemoryLimit           int64             `help:"Soft limit of edgecore's own memory in MiB, for Go's garbage collector." default:"48" placeholder:"MIB"`
}

// Run starts every part of the agent and waits until one fails or ctx ends.
// No part waits for the cloud.
func (r *runCmd) Run(ctx context.Context, cli *cli) error {
	log := cli.Log.Logger(os.Stderr)
	limitMemory(r.MemoryLimit)
	runtime, err := r.runtime(ctx, log)
	if err != nil {
		return err
	}
	defer runtime.Close()
	n, err := openNode(cli.DataDir, r.Cloud, r.Transport, r.currentKeyFile(cli), log)
	if err != nil {
		return err
	}
	defer n.Close()
	all, err := r.assemble(ctx, n, runtime, log)
	if err != nil {
		return err
	}
	log.Info("edgecore starts", "version", program.Version(), "node", n.name, "instance", n.instance, "cloud", n.cloud, "transport", r.Transport, "data", cli.DataDir)
	group, ctx := errgroup.WithContext(ctx)
	for name, run := range all {
		group.Go(func() error {
			err := run(ctx)
			if err == nil && ctx.Err() == nil {
				err = fmt.Errorf("%s ended by itself", name)
			}
			return err
		})
	}
	err = group.Wait()
	log.Info("edgecore ends; its containers keep running", "node", n.name)
	return err
}

// runtime connects to the container runtime. It refuses to go on with a socket
// that is wrong, so that this shows at once. A runtime that is only not up yet,
// as after a power cut, is no reason to keep twins and apps waiting.
func (r *runCmd) runtime(ctx context.Context, log *slog.Logger) (*cri.Client, error) {
	runtime, err := cri.New(cri.Config{Socket: r.RuntimeEndpoint, CgroupDriver: r.CgroupDriver, Logger: component(log, "cri")})
	if err != nil {
		return nil, &program.UsageError{Setting: "runtime-endpoint", Reason: err.Error()}
	}
	err = runtime.Check(ctx)
	if socket, ok := errors.AsType[*cri.SocketError](err); ok && socket.Temporary {
		log.Warn("the container runtime is not up yet; pods wait for it, all else goes on", "error", err)
		return runtime, nil
	}
	if err != nil {
		runtime.Close()
		return nil, err
	}
	return runtime, nil
}

func component(log *slog.Logger, name string) *slog.Logger { return log.With("component", name) }
