package groups

import (
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// testApp makes an application of manifests and a scope in YAML.
func testApp(t testing.TB, scope string, manifests ...string) *v1alpha1.EdgeApplication {
	t.Helper()
	app := &v1alpha1.EdgeApplication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", UID: "u1", Generation: 1}}
	if err := yaml.UnmarshalStrict([]byte(scope), &app.Spec.WorkloadScope); err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		raw, err := yaml.YAMLToJSON([]byte(m))
		if err != nil {
			t.Fatal(err)
		}
		app.Spec.WorkloadTemplate.Manifests = append(app.Spec.WorkloadTemplate.Manifests, v1alpha1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	return app
}

func workload(kind string) string {
	pods := "{metadata: {labels: {app: web}}, spec: {nodeSelector: {disk: ssd}, initContainers: [{name: init, image: 'r.example.com/init:1'}], containers: [{name: c, image: 'web:1', command: [a, b], env: [{name: A, value: '1'}, {name: B, value: $(A)}, {name: C, value: '3'}]}]}}"
	switch kind {
	case "Job":
		return "{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {template: " + pods + "}}"
	case "CronJob":
		return "{apiVersion: batch/v1, kind: CronJob, metadata: {name: web}, spec: {schedule: '@daily', jobTemplate: {spec: {template: " + pods + "}}}}"
	}
	return "{apiVersion: apps/v1, kind: " + kind + ", metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: " + pods + "}}"
}

func names(r *rendering) string {
	var all []string
	for i := range r.objects {
		all = append(all, r.objects[i].kind.Kind+"/"+r.objects[i].GetName())
	}
	return strings.Join(all, " ")
}

func TestRenderTargets(t *testing.T) {
	a, b := testGroup("a", 2, nil), testGroup("b", 1, nil)
	b.Labels = map[string]string{"country": "fi"}
	groups := []*v1alpha1.NodeGroup{a, b}
	members := map[string][]string{"a": {"n1", "n2"}, "b": {"n3"}}
	nodes := []*corev1.Node{testNode("n1", map[string]string{"gpu": "yes"}), testNode("n3", map[string]string{"gpu": "yes"}), testNode("n4", nil)}
	for name, c := range map[string]struct{ scope, want, err string }{
		"groups":             {"targetNodeGroups: [{name: a}, {name: later}]", "Deployment/web-a Deployment/web-later", ""},
		"each node":          {"targetNodeGroups: [{name: a, perNode: true}]", "Deployment/web-n1 Deployment/web-n2", ""},
		"groups by label":    {"targetNodeGroupSelector: {labelSelector: {matchExpressions: [{key: country, operator: Exists}]}}", "Deployment/web-b", ""},
		"named before label": {"targetNodeGroups: [{name: b, perNode: true}]\ntargetNodeGroupSelector: {labelSelector: {}}", "Deployment/web-a Deployment/web-n3", ""},
		"labels":             {"targetNodeLabels: [{labelSelector: {matchLabels: {gpu: 'yes'}}}]", "Deployment/web-ls-7ae0d0a2", ""},
		"labels, each node":  {"targetNodeLabels: [{labelSelector: {matchExpressions: [{key: gpu, operator: In, values: ['yes']}]}, perNode: true}]", "Deployment/web-n1 Deployment/web-n3", ""},
		"a node twice":       {"targetNodeGroups: [{name: a, perNode: true}]\ntargetNodeLabels: [{labelSelector: {matchLabels: {gpu: 'yes'}}, perNode: true}]", "Deployment/web-n1 Deployment/web-n2 Deployment/web-n3", ""},
		"nowhere":            {"{}", "", ""},
		"one selector twice": {"targetNodeLabels: [{labelSelector: {}}, {labelSelector: {}}]", "", "two targets have the site"},
		"no selector":        {"targetNodeLabels: [{labelSelector: {matchExpressions: [{key: x, operator: Like}]}}]", "", "targetNodeLabels[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := render(testApp(t, c.scope, workload("Deployment")), groups, members, nodes)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := names(r)
			if strings.HasPrefix(c.want, "Deployment/web-ls-") {
				got, c.want = got[:len("Deployment/web-ls-")], "Deployment/web-ls-"
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestRenderKinds: each kind is placed, marked and owned; the template is not changed.
func TestRenderKinds(t *testing.T) {
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"} {
		app := testApp(t, "targetNodeGroups: [{name: a}]\ntargetNodeLabels: [{labelSelector: {matchExpressions: [{key: gpu, operator: NotIn, values: [none]}]}}]", workload(kind))
		before := string(app.Spec.WorkloadTemplate.Manifests[0].Raw)
		r, err := render(app, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]string, 2)
		for i := range r.objects {
			raw, _ := json.Marshal(r.objects[i].Object)
			text[i] = string(raw)
		}
		for _, want := range []string{
			`"nodeSelector":{"apps.kubeedge.io/belonging-to":"a","disk":"ssd"}`, `"labels":{"app":"web","apps.edgekit.io/site":"a"}`, `"namespace":"shop"`,
			`"apps.edgekit.io/application":"app"`, `"kind":"EdgeApplication"`, `"uid":"u1"`, `"controller":true`,
		} {
			if !strings.Contains(text[0], want) {
				t.Errorf("%s has no %s: %s", kind, want, text[0])
			}
		}
		if want := `"matchExpressions":[{"key":"gpu","operator":"NotIn","values":["none"]},{"key":"node-role.kubernetes.io/edge","operator":"Exists"}]`; !strings.Contains(text[1], want) || !strings.Contains(text[1], `"nodeSelector":{"disk":"ssd"}`) {
			t.Errorf("%s has no %s: %s", kind, want, text[1])
		}
		if inSelector := strings.Contains(text[0], `"matchLabels":{"app":"web","apps.edgekit.io/site":"a"}`); inSelector != (r.objects[0].kind.Group == "apps") {
			t.Errorf("%s: the site in the selector: %t", kind, inSelector)
		}
		if string(app.Spec.WorkloadTemplate.Manifests[0].Raw) != before {
			t.Errorf("%s: the template was changed", kind)
		}
	}
}

// TestRenderAffinity: terms of the template stay, and each of them gets the requirement.
func TestRenderAffinity(t *testing.T) {
	app := testApp(t, "targetNodeGroups: [{name: a, perNode: true}]", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [],
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}, {matchExpressions: [{key: y, operator: Exists}]}]}}}}}}}`)
	r, err := render(app, nil, map[string][]string{"a": {"n1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(r.objects[0].Object)
	if n := strings.Count(string(raw), `"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]`); n != 2 {
		t.Errorf("%d terms have the node: %s", n, raw)
	}
}

// TestSelectorsStayAtTheEdge: a selector that asks for no label selects edge nodes only.
func TestSelectorsStayAtTheEdge(t *testing.T) {
	for selector, edge := range map[string]int{
		"{}": 1,
		"{matchExpressions: [{key: gpu, operator: DoesNotExist}]}":          1,
		"{matchExpressions: [{key: gpu, operator: NotIn, values: ['no']}]}": 1,
		"{matchLabels: {gpu: 'yes'}}":                                       0,
	} {
		r, err := render(testApp(t, "targetNodeLabels: [{labelSelector: "+selector+"}]", workload("Deployment")), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(r.objects[0].Object)
		if n := strings.Count(string(raw), `{"key":"node-role.kubernetes.io/edge","operator":"Exists"}`); n != edge {
			t.Errorf("%s: the role edge is asked for %d times, want %d: %s", selector, n, edge, raw)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	group := "targetNodeGroups: [{name: a%s}]"
	for name, c := range map[string]struct{ manifest, overriders, want string }{
		"a Secret":                  {"{apiVersion: v1, kind: Secret, metadata: {name: x}}", "", "may not have v1 Secret"},
		"a Pod":                     {"{apiVersion: v1, kind: Pod, metadata: {name: x}}", "", "may not have v1 Pod"},
		"a ClusterRole":             {"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}}", "", "may not have"},
		"a Role":                    {"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: x}}", "", "may not have"},
		"another namespace":         {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-system}}", "", "its own namespace shop only"},
		"no name":                   {"{apiVersion: v1, kind: ConfigMap, metadata: {generateName: x}}", "", "without a name"},
		"no metadata":               {"{apiVersion: v1, kind: ConfigMap}", "", "has no metadata"},
		"no object":                 {"[]", "", "not an object"},
		"null":                      {"null", "", "not an object"},
		"a kind that is a number":   {"{apiVersion: v1, kind: 7, metadata: {name: x}}", "", "may not have"},
		"labels of numbers":         {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, labels: {a: 1}}}", "", "want a map of strings"},
		"no template":               {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}", "", "spec.template is missing"},
		"containers of strings":     {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {spec: {containers: [a]}}}}", "", "containers[0] is not an object"},
		"a selector of strings":     {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {selector: a, template: {spec: {containers: []}}}}", "", "selector is not an object"},
		"a nodeSelector of strings": {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {spec: {nodeSelector: [], containers: []}}}}", "", "nodeSelector is not an object"},
		"too large":                 {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: " + strings.Repeat("x", maxManifest) + "}}", "", "are the limit"},
		"a patch of the name":       {workload("Deployment"), "patches: [{patch: 'metadata: {name: other}'}]", "a patch changes the kind, name"},
		"a patch of the kind":       {workload("Deployment"), "patches: [{type: JSON6902, patch: '[{op: replace, path: /kind, value: Pod}]'}]", "a patch changes the kind, name"},
		"a patch of the namespace":  {workload("Deployment"), "patches: [{patch: 'metadata: {namespace: kube-system}'}]", "a patch changes the kind, name"},
		"a patch of the owner":      {workload("Deployment"), "patches: [{patch: 'metadata: {ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]}'}]", "a patch changes the kind, name"},
		"a patch that is no YAML":   {workload("Deployment"), "patches: [{patch: '{'}]", "patches[0]: not YAML"},
		"a patch of nothing":        {workload("Deployment"), "patches: [{type: JSON6902, patch: '[{op: remove, path: /spec/none}]'}]", "patches[0]"},
		"a far index":               {workload("Deployment"), "patches: [{type: JSON6902, patch: '[{op: add, path: /spec/template/spec/containers/999999999, value: 1}]'}]", "patches[0]"},
		"a path of no image":        {workload("Deployment"), "imageOverriders: [{component: Tag, operator: replace, value: x, predicate: {path: /spec/template/spec/containers/9/image}}]", "there is no element"},
		"an image without a name":   {workload("Deployment"), "imageOverriders: [{component: Repository, operator: remove}]", "would have no name"},
		"a Job that is deleted":     {strings.Replace(workload("Job"), "spec: {", "spec: {ttlSecondsAfterFinished: 0, ", 1), "", "made again whenever it is done"},
		"a command replaced":        {workload("Deployment"), "commandOverriders: [{containerName: c, operator: replace, value: [x]}]", "want add or remove"},
	} {
		t.Run(name, func(t *testing.T) {
			over := ""
			if c.overriders != "" {
				over = ", overriders: {" + c.overriders + "}"
			}
			_, err := render(testApp(t, fmt.Sprintf(group, over), c.manifest), nil, nil, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %.300v, want %q", err, c.want)
			}
		})
	}
	t.Run("two of one name", func(t *testing.T) {
		if _, err := render(testApp(t, "{}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}"), nil, nil, nil); err == nil || !strings.Contains(err.Error(), "there are two of") {
			t.Error(err)
		}
	})
	t.Run("too many", func(t *testing.T) {
		var all []string
		for i := range maxObjects + 1 {
			all = append(all, fmt.Sprint("n", i))
		}
		if _, err := render(testApp(t, "targetNodeGroups: [{name: a, perNode: true}]", workload("Deployment")), nil, map[string][]string{"a": all}, nil); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Error(err)
		}
	})
}

// TestOverriders: each changes what it should, and keeps the order of variables.
func TestOverriders(t *testing.T) {
	for name, c := range map[string]struct {
		over string
		want []string
	}{
		"replicas":             {"replicas: 0", []string{`"replicas":0`}},
		"tag of all images":    {"imageOverriders: [{component: Tag, operator: replace, value: '2'}]", []string{`"r.example.com/init:2"`, `"web:2"`}},
		"registry":             {"imageOverriders: [{component: Registry, operator: replace, value: 'local:5000'}]", []string{`"local:5000/init:1"`, `"local:5000/web:1"`}},
		"one image":            {"imageOverriders: [{component: Repository, operator: add, value: -arm, predicate: {path: /spec/template/spec/containers/0/image}}]", []string{`"r.example.com/init:1"`, `"web-arm:1"`}},
		"env replaced":         {"envOverriders: [{containerName: c, operator: replace, value: [{name: D, value: '4'}, {name: A, value: '9'}]}]", []string{`"env":[{"name":"A","value":"9"},{"name":"B","value":"$(A)"},{"name":"C","value":"3"},{"name":"D","value":"4"}]`}},
		"env added":            {"envOverriders: [{containerName: c, operator: add, value: [{name: D, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]}]", []string{`{"name":"D","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}]`}},
		"env removed":          {"envOverriders: [{containerName: c, operator: remove, value: [{name: A}, {name: C}, {name: X}]}]", []string{`"env":[{"name":"B","value":"$(A)"}]`}},
		"command and args":     {"commandOverriders: [{containerName: c, operator: remove, value: [a]}, {containerName: c, operator: add, value: [z]}], argsOverriders: [{containerName: c, operator: add, value: [q]}]", []string{`"command":["b","z"]`, `"args":["q"]`}},
		"resources":            {"resourcesOverriders: [{containerName: c, value: {limits: {memory: 64Mi}}}]", []string{`"resources":{"limits":{"memory":"64Mi"}}`}},
		"another container":    {"commandOverriders: [{containerName: none, operator: add, value: [z]}]", []string{`"command":["a","b"]`}},
		"strategic merge":      {"patches: [{patch: 'spec: {template: {spec: {containers: [{name: c, imagePullPolicy: Always}]}}}'}]", []string{`"imagePullPolicy":"Always"`, `"image":"web:1"`}},
		"JSON patch":           {"patches: [{type: JSON6902, patch: '[{op: add, path: /spec/template/spec/priorityClassName, value: high}]'}]", []string{`"priorityClassName":"high"`}},
		"a patch elsewhere":    {"patches: [{target: {kind: Job}, patch: 'spec: {x: y}'}, {target: {name: other}, patch: 'spec: {x: y}'}]", []string{`"name":"web-a"`}},
		"no way out of a site": {"patches: [{type: JSON6902, patch: '[{op: remove, path: /spec/template/spec/nodeSelector}]'}]", []string{`"nodeSelector":{"apps.kubeedge.io/belonging-to":"a"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := render(testApp(t, "targetNodeGroups: [{name: a, overriders: {"+c.over+"}}]", workload("Deployment")), nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := json.Marshal(r.objects[0].Object)
			for _, want := range c.want {
				if !strings.Contains(string(raw), want) {
					t.Errorf("no %s in %s", want, raw)
				}
			}
		})
	}
}

func TestOverrideImage(t *testing.T) {
	const digest = "sha256:50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c"
	for _, c := range []struct {
		image     string
		component v1alpha1.ImageComponent
		operator  v1alpha1.OverriderOperator
		value     string
		want      string
	}{
		{"web", v1alpha1.Tag, v1alpha1.OverriderAdd, "1", "web:1"},
		{"web:1", v1alpha1.Tag, v1alpha1.OverriderAdd, "-arm", "web:1-arm"},
		{"web:1", v1alpha1.Tag, v1alpha1.OverriderRemove, "", "web"},
		{"web:1@" + digest, v1alpha1.Tag, v1alpha1.OverriderReplace, "2", "web:2"},
		{"web@" + digest, v1alpha1.Tag, v1alpha1.OverriderReplace, "2", "web:2"},
		{"web:1", v1alpha1.Tag, v1alpha1.OverriderReplace, digest, "web@" + digest},
		{"r:5000/a/b:1", v1alpha1.Registry, v1alpha1.OverriderRemove, "", "a/b:1"},
		{"localhost/a", v1alpha1.Registry, v1alpha1.OverriderReplace, "r.io", "r.io/a"},
		{"lib/a", v1alpha1.Registry, v1alpha1.OverriderAdd, "r.io", "r.io/lib/a"},
		{"r.io/a:1", v1alpha1.Repository, v1alpha1.OverriderReplace, "b/c", "r.io/b/c:1"},
	} {
		got, err := overrideImage(c.image, &v1alpha1.ImageOverrider{Component: c.component, Operator: c.operator, Value: c.value})
		if err != nil || got != c.want {
			t.Errorf("%s %s %s %q: %s, %v; want %s", c.image, c.operator, c.component, c.value, got, err, c.want)
		}
	}
}

// TestAttackPatchGrowth: copies in a JSON patch cannot make a large object of a small one.
func TestAttackPatchGrowth(t *testing.T) {
	ops := []string{"{op: add, path: /spec/x, value: {a: " + strings.Repeat("x", 1000) + "}}"}
	for i := range 60 {
		ops = append(ops, fmt.Sprintf("{op: copy, from: /spec/x, path: /spec/x/y%d}", i))
	}
	app := testApp(t, "targetNodeGroups: [{name: a}]", workload("Deployment"))
	app.Spec.WorkloadScope.TargetNodeGroups[0].Overriders.Patches = []v1alpha1.Patch{{Type: v1alpha1.JSON6902, Patch: "[" + strings.Join(ops, ",") + "]"}}
	if _, err := render(app, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "are the limit") {
		t.Error(err)
	}
}

// TestAttackPatchAliases: an alias cannot make a large object of a short patch.
func TestAttackPatchAliases(t *testing.T) {
	text := "metadata: {annotations: {a: &x " + strings.Repeat("x", 30<<10) + ", b: 'y'}}\nspec: {list: [" + strings.Repeat("*x ,", 8<<10) + "]}"
	app := testApp(t, "targetNodeGroups: [{name: a}]", workload("Deployment"))
	app.Spec.WorkloadScope.TargetNodeGroups[0].Overriders.Patches = []v1alpha1.Patch{{Patch: text}}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	_, err := render(app, nil, nil, nil)
	goruntime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "patches[0]: it has an alias") {
		t.Errorf("%.200v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("a patch of %d bytes took %d bytes", len(text), got)
	}
}

// TestAttackManyCopies: many copies of many short values take no unbounded memory.
func TestAttackManyCopies(t *testing.T) {
	app := testApp(t, "{}", strings.ReplaceAll(workload("Deployment"), "command: [a, b]", "command: ["+strings.Repeat("a,", 50_000)+"a]"))
	for i := range 1000 { // they need not exist
		app.Spec.WorkloadScope.TargetNodeGroups = append(app.Spec.WorkloadScope.TargetNodeGroups, v1alpha1.TargetNodeGroup{Name: fmt.Sprintf("g%d", i)})
	}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	_, err := render(app, nil, nil, nil)
	goruntime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "make several applications") {
		t.Errorf("%.200v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 4*maxMemory {
		t.Errorf("it took %d MiB", got>>20)
	}
	app = testApp(t, "{}", workload("Deployment"))
	for i := range 2 * 1000 {
		app.Spec.WorkloadScope.TargetNodeGroups = append(app.Spec.WorkloadScope.TargetNodeGroups, v1alpha1.TargetNodeGroup{Name: fmt.Sprintf("g%d", i)})
	}
	if r, err := render(app, nil, nil, nil); err != nil || len(r.objects) != 2000 {
		t.Errorf("2000 copies of a usual workload: %v", err)
	}
}

func TestCopyName(t *testing.T) {
	long := strings.Repeat("n", 80)
	for _, limit := range []int{52, 63, 253} {
		a, b := copyName("web", long+"a", limit), copyName("web", long+"b", limit)
		if len(a) > limit || a == b || !strings.HasPrefix(a, "web-n") {
			t.Errorf("%d: %s %s", limit, a, b)
		}
	}
	if v := siteValue(long); len(v) > 63 || v == siteValue(long+"x") {
		t.Error(v)
	}
}

// FuzzRender: no template, overrider or patch makes render panic.
func FuzzRender(f *testing.F) {
	for _, kind := range []string{"Deployment", "CronJob"} {
		f.Add([]byte(workload(kind)), "[{op: add, path: /spec/x, value: 1}]", true)
		f.Add([]byte(workload(kind)), "spec: {template: {spec: {containers: [{name: c, $patch: delete}]}}}", false)
	}
	f.Fuzz(func(t *testing.T, manifest []byte, patch string, isJSON bool) {
		raw, err := yaml.YAMLToJSON(manifest)
		if err != nil || len(patch) > 64<<10 {
			return
		}
		kind := v1alpha1.StrategicMerge
		if isJSON {
			kind = v1alpha1.JSON6902
		}
		app := &v1alpha1.EdgeApplication{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}}
		app.Spec.WorkloadTemplate.Manifests = []v1alpha1.Manifest{{RawExtension: runtime.RawExtension{Raw: raw}}}
		app.Spec.WorkloadScope.TargetNodeGroups = []v1alpha1.TargetNodeGroup{{Name: "a", PerNode: true, Overriders: v1alpha1.Overriders{
			Replicas: new(3), ImageOverriders: []v1alpha1.ImageOverrider{{Component: v1alpha1.Tag, Operator: v1alpha1.OverriderAdd, Value: "x"}},
			EnvOverriders: []v1alpha1.EnvOverrider{{ContainerName: "c", Operator: v1alpha1.OverriderReplace, Value: []corev1.EnvVar{{Name: "A"}}}},
			Patches:       []v1alpha1.Patch{{Type: kind, Patch: patch}},
		}}}
		r, err := render(app, nil, map[string][]string{"a": {"n1", "n2"}}, nil)
		if err == nil && slices.ContainsFunc(r.objects, func(o object) bool { return o.GetNamespace() != "shop" || len(o.GetOwnerReferences()) != 1 }) {
			t.Errorf("an object of another namespace or owner: %v", r.objects)
		}
	})
}
