package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
)

// maxManifest bounds the size of a file of --manifests.
const maxManifest = 8 << 20

// linkPort is the port of cloudcore's Service.
const linkPort = "10000"

// manifestFlags say what is installed. Those that keadm has have its names.
type manifestFlags struct {
	AdvertiseAddress []string          `help:"Address by which edge nodes reach cloudcore's Service, HOST or HOST:PORT; several may be given. cloudcore's certificate names the hosts." placeholder:"HOST" aliases:"advertise"`
	RightsOnly       bool              `help:"Only the namespace, the resources (CRDs) and the rights: cloudcore runs elsewhere."`
	EdgekitVersion   string            `help:"Version of cloudcore to run, for example v1.2.3. Default: this program's." placeholder:"VERSION" aliases:"kubeedge-version"`
	ImageRepository  string            `help:"Where the image cloudcore is, for a registry of your own." default:"edgekit" placeholder:"REPOSITORY"`
	PullSecret       string            `help:"Secret with the credentials of that registry." placeholder:"NAME"`
	Set              map[string]string `help:"A setting of cloudcore ('cloudcore config print' lists them), for example --set keepalive=1m; several may be given." placeholder:"KEY=VALUE"`
	Replicas         int32             `help:"How many cloudcores run." default:"2"`
	ServiceType      string            `help:"Type of the Service by which nodes reach cloudcore: LoadBalancer, NodePort or ClusterIP." enum:"LoadBalancer,NodePort,ClusterIP" default:"LoadBalancer"`
	NodePort         int32             `help:"Port on the cluster's machines, TCP and UDP, with --service-type=NodePort. 0 lets the cluster choose." default:"0"`
	Applications     bool              `help:"Let cloudcore make the objects of EdgeApplications in all namespaces. Whoever steals its token can then run anything in the cluster; without it, bind the ClusterRole edgekit:cloudcore-applications in single namespaces."`
	Twins            bool              `help:"The API of live values (kubectl get twins) too. Use it only with --set twins-listen=:10443, or with a cloudcore elsewhere that has it: an API that does not answer keeps namespaces from being deleted."`
	DevicePolicy     bool              `help:"The admission policy that keeps the Devices of a namespace to the nodes in its annotation edgekit.io/device-nodes. A namespace without the annotation may then have Devices at no node."`
	AutonomyLabel    bool              `help:"The admission policy by which pods with KubeEdge's label app-offline.kubeedge.io=autonomy are never evicted because their node is away. It takes Kubernetes 1.36 or later. Nodes with autonomy, which is the default, need it not."`
	Manifests        []string          `help:"Further YAML files to apply." short:"f" placeholder:"FILE" sep:"none"`
}

// options returns what the flags ask for, but for the form of impersonation.
func (m *manifestFlags) options(cli *cli) (install.Options, error) {
	o := install.Options{Namespace: cli.Namespace, Twins: m.Twins, Applications: m.Applications, Autonomy: m.AutonomyLabel}
	if m.DevicePolicy {
		o.More = append(o.More, devices.Policy()...)
	}
	for _, name := range m.Manifests {
		text, err := readBounded(name, maxManifest)
		if err != nil {
			return o, &program.UsageError{Setting: "manifests", Reason: err.Error()}
		}
		o.More = append(append(o.More, "\n---\n"...), text...)
	}
	switch {
	case m.RightsOnly && len(m.AdvertiseAddress) > 0:
		return o, &program.UsageError{Setting: "rights-only", Reason: "cannot be given with --advertise-address: leave one of the two out"}
	case len(m.AdvertiseAddress) == 0:
		return o, nil
	}
	image, err := m.image()
	if err != nil {
		return o, err
	}
	o.Cloudcore = &install.Cloudcore{
		Image: image, PullSecret: m.PullSecret, Replicas: m.Replicas, Settings: m.Set,
		Service: corev1.ServiceType(m.ServiceType), NodePort: m.NodePort, Advertise: withPorts(m.AdvertiseAddress),
	}
	return o, nil
}

// image is cloudcore's image.
func (m *manifestFlags) image() (string, error) {
	version := m.EdgekitVersion
	if version == "" {
		version = program.Version()
		if _, err := parseRelease(version); err != nil {
			return "", &program.UsageError{Setting: "edgekit-version", Reason: fmt.Sprintf("this program is a development build (%s), which has no image: give the version of cloudcore to run", version)}
		}
	}
	return strings.TrimSuffix(m.ImageRepository, "/") + "/" + install.Name + ":" + version, nil
}

// withPorts adds the Service's port to addresses without one.
func withPorts(addresses []string) []string {
	out := make([]string, 0, len(addresses))
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), linkPort)
		}
		out = append(out, a)
	}
	return out
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: over %d bytes: give a smaller file", name, limit)
	}
	return text, nil
}

// manifestCmd prints what initCmd applies.
type manifestCmd struct {
	manifestFlags `embed:""`
	Impersonation string `help:"How cloudcore will act as nodes: constrained takes Kubernetes 1.36 or later; legacy adds, for older ones, rights that amount to an administrator's." enum:"constrained,legacy" default:"constrained"`
}

// Help is the text below the usage.
func (manifestCmd) Help() string {
	return `Without --advertise-address it prints only the namespace, the resources and the rights.

Examples:
  edgectl manifest | kubectl apply -f -
  edgectl manifest --advertise-address edge.example.com --edgekit-version v1.2.3`
}

// Run prints the manifest.
func (m *manifestCmd) Run(cli *cli, out program.Output) error {
	o, err := m.options(cli)
	if err != nil {
		return err
	}
	o.Legacy = m.Impersonation == "legacy"
	return printManifest(out, o)
}

// initCmd installs the cloud part.
type initCmd struct {
	manifestFlags `embed:""`
	Impersonation string        `help:"How cloudcore acts as nodes: constrained (Kubernetes 1.36 and later), legacy (older ones; it gives cloudcore the rights of an administrator in all but name), or auto, which asks the API server." enum:"auto,constrained,legacy" default:"auto"`
	DryRun        bool          `help:"Print what would be applied, and change nothing." short:"d"`
	Local         bool          `help:"Set cloudcore up on this machine, under systemd: write its configuration and unit, and print the command that starts it."`
	LocalDir      string        `help:"With --local: folder that stands for / (for packages and tests)." default:"/" placeholder:"DIR"`
	Force         bool          `help:"Go on although the preflight found something." aliases:"skip-preflight-checks"`
	Timeout       time.Duration `help:"How long to wait until cloudcore is ready. 0 does not wait." default:"5m"`
}

// Help is the text below the usage.
func (initCmd) Help() string {
	return `It may be run again at any time: what has not changed stays as it is.

Examples:
  edgectl init --advertise-address edge.example.com
  edgectl init --advertise-address 192.0.2.10:31000 --service-type NodePort --node-port 31000
  edgectl init --rights-only
  edgectl init --local --advertise-address edge.example.com`
}

// Run installs cloudcore in the cluster, or on this machine.
func (i *initCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	o, err := i.options(cli)
	if err != nil {
		return err
	}
	if o.Cloudcore == nil && !i.RightsOnly {
		return &program.UsageError{Setting: "advertise-address", Reason: "give the address by which edge nodes reach cloudcore; or --rights-only, if cloudcore runs elsewhere"}
	}
	if i.Local {
		return i.setUpHere(cli, out)
	}
	if i.DryRun && i.Impersonation != "auto" {
		o.Legacy = i.Impersonation == "legacy"
		return printManifest(out, o)
	}
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return err
	}
	if o.Legacy, err = legacy(ctx, cfg, i.Impersonation); err != nil {
		return err
	}
	if i.DryRun {
		return printManifest(out, o)
	}
	return i.apply(ctx, cfg, o, out)
}

// printManifest writes the manifest.
func printManifest(out io.Writer, o install.Options) error {
	text, err := install.Render(o)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// legacy reports whether the cluster needs the rights of the older form.
func legacy(ctx context.Context, cfg *rest.Config, choice string) (bool, error) {
	if choice != "auto" {
		return choice == "legacy", nil
	}
	mode, err := controller.DetectImpersonation(ctx, cfg)
	if err != nil {
		return false, fmt.Errorf("find out how cloudcore can act as nodes: %w: give --impersonation", err)
	}
	return mode == controller.ImpersonationLegacy, nil
}

// legacyWarning is what the older form means.
const legacyWarning = `WARNING: the API server has no constrained impersonation (Kubernetes 1.36 and later). The role
edgekit:cloudcore-legacy makes cloudcore's ServiceAccount an administrator of the cluster in all but
name: keep its token as you keep an administrator's. Run init again when the cluster has 1.36.
`

// apply checks the cluster, applies the objects and waits.
func (i *initCmd) apply(ctx context.Context, cfg *rest.Config, o install.Options, out io.Writer) error {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	objects, err := install.Objects(o)
	if err != nil {
		return err
	}
	if err := checkCluster(ctx, client, o, out); err != nil {
		if !i.Force {
			return fmt.Errorf("%w (--force goes on)", err)
		}
		fmt.Fprintf(out, "preflight: %v\n", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	if err := install.Apply(ctx, install.ApplyConfig{Client: dyn, Objects: objects, Report: reporter(out)}); err != nil {
		return err
	}
	if o.Cloudcore == nil {
		_, err := io.WriteString(out, "the cluster is ready for cloudcore\n")
		return err
	}
	if i.Timeout > 0 {
		if err := waitRollout(ctx, client, rollout{namespace: namespaceOf(o), limit: i.Timeout, out: out}); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "cloudcore runs; nodes reach it at %s. Next, for each node:\n  edgectl token create --node NAME\n", strings.Join(o.Cloudcore.Advertise, ", "))
	return serviceHint(ctx, client, o, out)
}

// checkCluster says what is wrong with the cluster before anything is changed.
func checkCluster(ctx context.Context, client kubernetes.Interface, o install.Options, out io.Writer) error {
	version, err := install.ClusterVersion(client)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "preflight: Kubernetes %s\n", version)
	objects, err := install.Objects(o)
	if err != nil {
		return err
	}
	missing, err := install.MissingRights(ctx, client, objects)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return errors.New("you lack the rights to: " + strings.Join(missing, ", ") + ": use an administrator's kubeconfig")
	}
	if o.Legacy {
		_, err = io.WriteString(out, legacyWarning)
	}
	return err
}

// reporter prints objects as kubectl does.
func reporter(out io.Writer) func(install.Result) {
	return func(r install.Result) {
		obj := r.After
		group := ""
		if g := obj.GroupVersionKind().Group; g != "" {
			group = "." + g
		}
		fmt.Fprintf(out, "%s%s/%s %s\n", strings.ToLower(obj.GetKind()), group, obj.GetName(), r.Outcome)
	}
}

// namespaceOf is the namespace of a manifest.
func namespaceOf(o install.Options) string { return cmp.Or(o.Namespace, install.Namespace) }
