package rendertest

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/monitoring"
)

// objects are objects by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func (o objects) add(t *testing.T, obj *unstructured.Unstructured) {
	t.Helper()
	key := obj.GetKind() + " " + obj.GetNamespace() + "/" + obj.GetName()
	if o[key] != nil {
		t.Errorf("%s is there twice", key)
	}
	o[key] = obj
}

// parse reads YAML.
func (o objects) parse(t *testing.T, text []byte) {
	t.Helper()
	for doc := range bytes.SplitSeq(append([]byte("\n"), text...), []byte("\n---")) {
		obj := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &obj.Object); err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		if len(obj.Object) > 0 {
			o.add(t, obj)
		}
	}
}

// ours are the objects of package install.
func ours(t *testing.T, o install.Options) objects {
	t.Helper()
	list, err := install.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	out := make(objects)
	for _, obj := range list {
		out.add(t, obj)
	}
	return out
}

// compare compares two sets of objects.
func compare(t *testing.T, have, want objects) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if have[key] == nil {
			t.Errorf("%s is missing", key)
			continue
		}
		a, err1 := json.MarshalIndent(have[key], "", " ")
		b, err2 := json.MarshalIndent(want[key], "", " ")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs: have\n%s\nwant\n%s", key, a, b)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if want[key] == nil {
			t.Errorf("%s is one too many", key)
		}
	}
}

// chart renders the chart as "helm template" does.
func chart(t *testing.T, namespace string, values map[string]any) (objects, error) {
	t.Helper()
	c, err := loader.LoadDir("../chart")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: "edgekit", Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := make(objects)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			out.parse(t, []byte(files[name]))
		}
	}
	for key, obj := range out {
		if strings.HasPrefix(key, "CustomResourceDefinition ") { // it stays when the chart is removed
			notes := obj.GetAnnotations()
			if notes["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s goes with the chart", key)
			}
			delete(notes, "helm.sh/resource-policy")
			obj.SetAnnotations(notes)
		}
	}
	return out, nil
}

// more are the objects that package install takes from elsewhere.
func more(t *testing.T, namespace string) []byte {
	t.Helper()
	rules, err1 := monitoring.PrometheusRule(monitoring.Config{Namespace: namespace})
	dashboard, err2 := monitoring.DashboardConfigMap(monitoring.Config{Namespace: namespace})
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return bytes.Join([][]byte{[]byte(devices.Policy()), rules, dashboard}, []byte("---\n"))
}

// TestChart compares the chart with package install, for the values that both have.
func TestChart(t *testing.T) {
	for name, test := range map[string]struct {
		namespace string
		options   install.Options
		values    map[string]any
	}{
		"defaults": {
			options: install.Options{Cloudcore: &install.Cloudcore{}},
		},
		"everything": {
			namespace: "edge",
			options: install.Options{
				Legacy: true, Twins: true, Applications: true, Autonomy: true, More: more(t, "edge"),
				Cloudcore: &install.Cloudcore{
					Image: "registry.example:5000/edge/cloudcore:v1.2.3", Replicas: 3, Service: corev1.ServiceTypeNodePort, NodePort: 31000,
					Advertise: []string{"edge.example.com:31000", "192.0.2.1:31000"}, PullSecret: "pull",
					Settings: map[string]string{"keepalive": "1m0s", "max-nodes": "10", "rules-listen": ":9443", "drain": "60s"},
				},
			},
			values: map[string]any{
				"impersonation": "legacy", "twins": true, "applications": true, "autonomyLabel": true, "devicePolicy": true, "prometheusRule": true, "grafanaDashboard": true,
				"image":    map[string]any{"repository": "registry.example:5000/edge/cloudcore", "tag": "v1.2.3"},
				"replicas": 3, "service": map[string]any{"type": "NodePort", "nodePort": 31000},
				"advertise":                     []any{"edge.example.com:31000", "192.0.2.1:31000"},
				"settings":                      map[string]any{"keepalive": "1m0s", "max-nodes": "10", "rules-listen": ":9443", "drain": "60s"},
				"imagePullSecrets":              []any{map[string]any{"name": "pull"}},
				"terminationGracePeriodSeconds": 95,
			},
		},
		"no load balancer": {
			options: install.Options{Cloudcore: &install.Cloudcore{Service: corev1.ServiceTypeClusterIP, Replicas: 1}},
			values:  map[string]any{"service": map[string]any{"type": "ClusterIP"}, "replicas": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Namespace = test.namespace
			want := ours(t, test.options)
			for key := range want {
				if strings.HasPrefix(key, "Namespace ") { // Helm makes it
					delete(want, key)
				}
			}
			if test.namespace == "" {
				test.namespace = install.Namespace
			}
			have, err := chart(t, test.namespace, test.values)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, have, want)
		})
	}
}

// TestChartRefuses gives the chart wrong values.
func TestChartRefuses(t *testing.T) {
	for want, values := range map[string]map[string]any{
		"settings.listen is decided by the chart": {"settings": map[string]any{"listen": ":1"}},
		"replica":       {"replica": 3},
		"impersonation": {"impersonation": "none"},
		"/replicas":     {"replicas": 0},
	} {
		if _, err := chart(t, install.Namespace, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", values, err, want)
		}
	}
}

// TestKustomize compares the kustomize base with package install. The ConfigMap has a suffix
// there, which replaces the pods when it changes.
func TestKustomize(t *testing.T) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../kustomize")
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	suffixed := regexp.MustCompile(`name: cloudcore-[a-z0-9]{10}\n`)
	if n := len(suffixed.FindAll(text, -1)); n != 2 {
		t.Errorf("%d places have the name of the ConfigMap with its suffix, want 2", n)
	}
	have, want := make(objects), ours(t, install.Options{Cloudcore: &install.Cloudcore{}})
	have.parse(t, suffixed.ReplaceAll(text, []byte("name: cloudcore\n")))
	for _, set := range []objects{have, want} {
		pod := set["Deployment edgekit-system/cloudcore"].Object
		unstructured.RemoveNestedField(pod, "spec", "template", "metadata", "annotations", "edgekit.io/config-sha256")
		if notes, _, _ := unstructured.NestedMap(pod, "spec", "template", "metadata", "annotations"); len(notes) == 0 {
			unstructured.RemoveNestedField(pod, "spec", "template", "metadata", "annotations")
		}
	}
	compare(t, have, want)
}
