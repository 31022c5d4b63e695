package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
)

// upgradeCloudCmd replaces cloudcore and what belongs to it by another version.
type upgradeCloudCmd struct {
	EdgekitVersion  string            `help:"Version to go to, for example v1.2.3. Default: this program's." placeholder:"VERSION" aliases:"kubeedge-version,to-version"`
	ImageRepository string            `help:"Where the image cloudcore is. Default: where the present one is." placeholder:"REPOSITORY"`
	Set             map[string]string `help:"A setting of cloudcore to change; several may be given. The others stay." placeholder:"KEY=VALUE"`
	Plan            bool              `help:"Show what would change, as the API server would have it, and change nothing."`
	Impersonation   string            `help:"How cloudcore acts as nodes; see 'edgectl init --help'." enum:"auto,constrained,legacy" default:"auto"`
	Force           bool              `help:"Go on although the preflight or the versions of the nodes speak against it."`
	Timeout         time.Duration     `help:"How long to wait until the new version is ready. 0 does not wait." default:"10m"`
}

// Help is the text below the usage.
func (upgradeCloudCmd) Help() string {
	return `Nodes go on meanwhile: a new cloudcore is ready before an old one asks its nodes to connect to
another. What 'edgectl init' was given (addresses, settings, replicas, Service) stays.

Examples:
  edgectl upgrade cloud --plan
  edgectl upgrade cloud --edgekit-version v1.3.0`
}

// Run shows the plan, or carries it out.
func (u *upgradeCloudCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	legacy, err := legacy(ctx, cfg, u.Impersonation)
	if err != nil {
		return err
	}
	return u.upgrade(ctx, cloud{client: client, dynamic: dyn, namespace: cli.Namespace, legacy: legacy, out: out})
}

// cloud is the cluster whose cloudcore is upgraded.
type cloud struct {
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	namespace string
	legacy    bool // the API server has no constrained impersonation
	out       io.Writer
}

func (u *upgradeCloudCmd) upgrade(ctx context.Context, c cloud) error {
	now, err := c.installed(ctx)
	if err != nil {
		return err
	}
	next, err := u.next(now)
	if err != nil {
		return err
	}
	problems, err := c.versions(ctx, now.tag, next.Image)
	if err != nil {
		return err
	}
	options, err := c.parts(ctx, install.Options{Namespace: c.namespace, Legacy: c.legacy, Cloudcore: next})
	if err != nil {
		return err
	}
	if err := checkCluster(ctx, c.client, options, c.out); err != nil {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		text := strings.Join(problems, "; ")
		switch {
		case u.Plan || u.Force:
			fmt.Fprintln(c.out, "preflight:", text)
		default:
			return fmt.Errorf("%s (--force goes on)", text)
		}
	}
	fmt.Fprintf(c.out, "image %s -> %s\n", now.image, next.Image)
	objects, err := install.Objects(options)
	if err != nil {
		return err
	}
	if u.Plan {
		return install.Apply(ctx, install.ApplyConfig{Client: c.dynamic, Objects: objects, DryRun: true, Report: planner(c.out)})
	}
	if err := install.Apply(ctx, install.ApplyConfig{Client: c.dynamic, Objects: objects, Report: reporter(c.out)}); err != nil {
		return err
	}
	back := fmt.Sprintf("to go back: edgectl upgrade cloud --edgekit-version %s (with the edgectl of that version), or at once: kubectl -n %s rollout undo deployment/%s\n", now.tag, c.namespace, install.Name)
	if u.Timeout > 0 {
		if err := waitRollout(ctx, c.client, rollout{namespace: c.namespace, limit: u.Timeout, out: c.out}); err != nil {
			return fmt.Errorf("%w; the old cloudcores serve until the new ones are ready; %s", err, strings.TrimSuffix(back, "\n"))
		}
	}
	_, err = io.WriteString(c.out, back)
	return err
}

// installation is what the cluster has now.
type installation struct {
	image, tag string
	spec       install.Cloudcore
}

// installed reads what 'edgectl init' made.
func (c *cloud) installed(ctx context.Context) (installation, error) {
	var now installation
	d, err := c.client.AppsV1().Deployments(c.namespace).Get(ctx, install.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return now, fmt.Errorf("there is no deployment %s/%s: 'edgectl init' makes it; a cloudcore outside the cluster is upgraded with its package, after 'edgectl init --rights-only'", c.namespace, install.Name)
	case err != nil:
		return now, err
	}
	if owner := d.Labels["app.kubernetes.io/managed-by"]; owner == "Helm" {
		return now, fmt.Errorf("deployment %s/%s belongs to Helm: use 'helm upgrade'", c.namespace, install.Name)
	}
	now.image, now.tag = install.Image(d)
	service, err := c.client.CoreV1().Services(c.namespace).Get(ctx, install.Name, metav1.GetOptions{})
	if err != nil {
		return now, err
	}
	config, err := c.client.CoreV1().ConfigMaps(c.namespace).Get(ctx, install.Name, metav1.GetOptions{})
	if err != nil {
		return now, err
	}
	now.spec, err = install.Installed(d, service, config)
	return now, err
}

// parts adds the optional parts that the cluster has.
func (c *cloud) parts(ctx context.Context, o install.Options) (install.Options, error) {
	for _, part := range []struct {
		resource, name string
		add            func()
	}{
		{"apiregistration.k8s.io/v1/apiservices", "v1.twins.edgekit.io", func() { o.Twins = true }},
		{"rbac.authorization.k8s.io/v1/clusterrolebindings", "edgekit:cloudcore-applications", func() { o.Applications = true }},
		{"admissionregistration.k8s.io/v1/mutatingadmissionpolicies", "edgekit-app-offline-autonomy", func() { o.Autonomy = true }},
		{"admissionregistration.k8s.io/v1/validatingadmissionpolicies", "edgekit-device-nodes", func() { o.More = []byte(devices.Policy()) }},
	} {
		words := strings.Split(part.resource, "/")
		_, err := c.dynamic.Resource(schema.GroupVersionResource{Group: words[0], Version: words[1], Resource: words[2]}).Get(ctx, part.name, metav1.GetOptions{})
		switch {
		case err == nil:
			part.add()
		case !apierrors.IsNotFound(err):
			return o, fmt.Errorf("look for %s %s: %w", words[2], part.name, err)
		}
	}
	return o, nil
}

// next is what the cluster shall have.
func (u *upgradeCloudCmd) next(now installation) (*install.Cloudcore, error) {
	next := now.spec
	flags := manifestFlags{EdgekitVersion: u.EdgekitVersion, ImageRepository: u.ImageRepository}
	if flags.ImageRepository == "" {
		name := strings.TrimSuffix(strings.SplitN(now.image, "@", 2)[0], ":"+now.tag)
		flags.ImageRepository = strings.TrimSuffix(name, "/"+install.Name)
		if flags.ImageRepository == name {
			return nil, &program.UsageError{Setting: "image-repository", Reason: fmt.Sprintf("the present image %s does not end in /%s: give the repository", now.image, install.Name)}
		}
	}
	image, err := flags.image()
	if err != nil {
		return nil, err
	}
	next.Image, next.Settings = image, maps.Clone(now.spec.Settings)
	if next.Settings == nil {
		next.Settings = make(map[string]string)
	}
	maps.Copy(next.Settings, u.Set)
	return &next, nil
}

// versions says what speaks against the step from one version to another: nodes, or a step that
// is too long.
func (c *cloud) versions(ctx context.Context, from, image string) ([]string, error) {
	tag := image[strings.LastIndex(image, ":")+1:]
	to, err := parseRelease(tag)
	if err != nil {
		fmt.Fprintf(c.out, "preflight: %v: the versions of the nodes are not compared\n", err)
		return nil, nil
	}
	var problems []string
	if have, err := parseRelease(from); err == nil && have.apart(to) > skew {
		problems = append(problems, fmt.Sprintf("from %s to %s is more than %d minor versions: go there in steps", from, tag, skew))
	}
	away := make(map[string][]string) // nodes by their version
	err = c.eachNode(ctx, func(node *corev1.Node) {
		version := edgekitVersion(node.Status.NodeInfo.KubeletVersion)
		if have, err := parseRelease(version); err == nil && have.apart(to) > skew {
			away[version] = append(away[version], node.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, version := range slices.Sorted(maps.Keys(away)) {
		nodes := away[version]
		slices.Sort(nodes)
		shown := strings.Join(nodes[:min(len(nodes), 5)], ", ")
		problems = append(problems, fmt.Sprintf("%d nodes have %s (%s), which is more than %d minor versions from %s: upgrade them first", len(nodes), version, shown, skew, tag))
	}
	return problems, nil
}

// nodePage is how many Nodes are asked for at once.
const nodePage = 500

// eachNode calls f for every edge node.
func (c *cloud) eachNode(ctx context.Context, f func(*corev1.Node)) error {
	options := metav1.ListOptions{LabelSelector: "node-role.kubernetes.io/edge", Limit: nodePage}
	for {
		list, err := c.client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return fmt.Errorf("list the edge nodes: %w", err)
		}
		for i := range list.Items {
			f(&list.Items[i])
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}

// edgekitVersion is edgekit's part of a node's version, v1.37.2-edgekit-v1.2.3.
func edgekitVersion(kubelet string) string {
	_, version, _ := strings.Cut(kubelet, "-edgekit-")
	return version
}

// planner prints the difference of each object.
func planner(out io.Writer) func(install.Result) {
	report := reporter(out)
	return func(r install.Result) {
		report(r)
		if r.Outcome != install.Configured {
			return
		}
		before, err1 := yaml.Marshal(install.Plain(r.Before).Object)
		after, err2 := yaml.Marshal(install.Plain(r.After).Object)
		if err1 != nil || err2 != nil {
			return
		}
		for _, line := range diffLines(string(before), string(after)) {
			fmt.Fprintln(program.Plain(out), "  "+line)
		}
	}
}

// maxDiff bounds the lines that are compared; larger texts are shown as replaced.
const maxDiff = 4000

// diffLines returns the lines that differ, with - and + before them, and the line above each
// change.
func diffLines(before, after string) []string {
	a, b := strings.Split(strings.TrimSuffix(before, "\n"), "\n"), strings.Split(strings.TrimSuffix(after, "\n"), "\n")
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	var out []string
	if same > 0 && (len(a) > same || len(b) > same) {
		out = append(out, " "+a[same-1])
	}
	a, b = a[same:], b[same:]
	if len(a)+len(b) > maxDiff {
		return append(out, fmt.Sprintf(" %d lines become %d", len(a), len(b)))
	}
	return append(out, editScript(a, b)...)
}

// editScript is the shortest list of removed and added lines: the longest common subsequence
// stays.
func editScript(a, b []string) []string {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []string
	for i, j, kept := 0, 0, ""; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			kept = a[i]
			i, j = i+1, j+1
			continue
		case kept != "":
			out, kept = append(out, " "+kept), ""
		}
		if j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1] {
			out = append(out, "-"+a[i])
			i++
		} else {
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}
