package edged_test

import (
	"bufio"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
)

// openFields is how many rows of testdata/fields.txt may be "open": accepted, but not or
// not fully implemented. Lower it, never raise it.
const openFields = 14

// readFields reads testdata/fields.txt: the verdict of each field.
func readFields(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "fields.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := make(map[string]string)
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, verdict, ok := strings.Cut(line, " ")
		if _, twice := rows[name]; twice || !ok {
			t.Errorf("%q: want one row for each field, with a verdict", line)
		}
		rows[name] = strings.TrimSpace(verdict)
	}
	return rows
}

// coreFields lists the fields of the type and of all that it reaches in
// k8s.io/api/core/v1, and the types of text among them.
func coreFields(root reflect.Type, fields, texts map[string]bool, seen map[reflect.Type]bool) {
	switch root.Kind() {
	case reflect.Pointer, reflect.Slice:
		coreFields(root.Elem(), fields, texts, seen)
		return
	case reflect.Map:
		coreFields(root.Key(), fields, texts, seen)
		coreFields(root.Elem(), fields, texts, seen)
		return
	}
	if seen[root] || root.PkgPath() != "k8s.io/api/core/v1" {
		return
	}
	seen[root] = true
	switch root.Kind() {
	case reflect.String:
		texts[root.Name()] = true
	case reflect.Struct:
		for i := range root.NumField() {
			f := root.Field(i)
			if !f.Anonymous { // the fields of an embedded type are its own rows
				fields[root.Name()+"."+f.Name] = true
			}
			coreFields(f.Type, fields, texts, seen)
		}
	}
}

// source parses a file of a module that this one depends upon.
func source(t *testing.T, module, file string) *ast.File {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Skipf("the sources of %s cannot be read: %v", module, err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// values lists the constants of each type of text: "TYPE=VALUE".
func values(f *ast.File, texts map[string]bool) map[string]bool {
	out := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) == 0 {
			return true
		}
		kind, _ := spec.Type.(*ast.Ident)
		text, _ := spec.Values[0].(*ast.BasicLit)
		if kind != nil && text != nil && texts[kind.Name] {
			out[kind.Name+"="+strings.Trim(text.Value, `"`)] = true
		}
		return true
	})
	return out
}

// configFields lists the fields of KubeletConfiguration and of the types of its
// file that it reaches.
func configFields(f *ast.File) map[string]bool {
	types := make(map[string]*ast.StructType)
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				types[spec.Name.Name] = s
			}
		}
		return true
	})
	out := make(map[string]bool)
	var walk func(name string)
	walk = func(name string) {
		s := types[name]
		delete(types, name)
		if s == nil {
			return
		}
		for _, field := range s.Fields.List {
			for _, n := range field.Names {
				out[name+"."+n.Name] = true
			}
			ast.Inspect(field.Type, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					walk(id.Name)
				}
				return true
			})
		}
	}
	walk("KubeletConfiguration")
	return out
}

// TestEveryFieldHasAVerdict fails when Kubernetes has a field, or a value that
// chooses a behaviour, of which testdata/fields.txt does not say what this node
// does with it, or the other way round.
func TestEveryFieldHasAVerdict(t *testing.T) {
	fields, texts := make(map[string]bool), make(map[string]bool)
	seen := make(map[reflect.Type]bool)
	for _, root := range []reflect.Type{reflect.TypeFor[corev1.PodSpec](), reflect.TypeFor[corev1.NodeSpec](), reflect.TypeFor[corev1.NodeStatus]()} {
		coreFields(root, fields, texts, seen)
	}
	maps.Copy(fields, values(source(t, "k8s.io/api", "core/v1/types.go"), texts))
	maps.Copy(fields, configFields(source(t, "k8s.io/kubelet", "config/v1beta1/types.go")))
	rows := readFields(t)
	used := make(map[string]bool)
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		kind, _, _ := strings.Cut(field, ".")
		if enum, _, ok := strings.Cut(field, "="); ok {
			kind = enum + "="
		} else {
			kind += "."
		}
		row := field
		if _, ok := rows[row]; !ok {
			row = kind + "*"
		}
		if _, ok := rows[row]; !ok && !unusedName(field) {
			t.Errorf("%s has no row in testdata/fields.txt: say what this node does with it, or refuse it (internal/podspec/unsupported.go)", field)
		}
		used[row] = true
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if !used[name] {
			t.Errorf("testdata/fields.txt: %s is no field of Kubernetes", name)
		}
	}
}

// unusedName reports whether a value names a resource that no pod asks for: of
// quotas, or of volumes.
func unusedName(field string) bool {
	_, known := map[string]bool{"ResourceName=cpu": true, "ResourceName=memory": true, "ResourceName=ephemeral-storage": true, "ResourceName=pods": true}[field]
	return strings.HasPrefix(field, "ResourceName=") && !known
}

// TestVerdictsAreTrue checks the rows as far as a program can: the code that they name
// exists, and each refusal has a pod in TestRefusals.
func TestVerdictsAreTrue(t *testing.T) {
	rows := readFields(t)
	open := 0
	for name, verdict := range rows {
		word, rest, _ := strings.Cut(verdict, " ")
		what, _, _ := strings.Cut(rest, " ")
		switch word {
		case "done":
			file, ident, _ := strings.Cut(what, ":")
			text, err := os.ReadFile(file)
			if err != nil {
				text, err = os.ReadFile(filepath.Join("..", file))
			}
			if err != nil || !strings.Contains(string(text), ident) {
				t.Errorf("%s: %s does not have %q (%v)", name, file, ident, err)
			}
		case "refused":
			if refusals()[name].edit == nil {
				t.Errorf("%s is refused and has no pod in refusals", name)
			}
		case "within":
			if _, ok := rows[what]; !ok {
				t.Errorf("%s is within %s, which has no row", name, what)
			}
		case "setting":
			field, ok := strings.CutPrefix(what, "Config.")
			if _, has := reflect.TypeFor[edged.Config]().FieldByName(field); !ok || !has {
				t.Errorf("%s: edged has no setting %s", name, what)
			}
		case "open":
			open++
			fallthrough
		case "cloud", "other", "fixed":
			if rest == "" {
				t.Errorf("%s: %q says nothing", name, verdict)
			}
		default:
			t.Errorf("%s: no such verdict: %q", name, verdict)
		}
	}
	if open != openFields {
		t.Errorf("%d fields are open, want %d: refuse a new one, and lower openFields for one that is closed", open, openFields)
	}
	for name := range refusals() {
		if !strings.HasPrefix(rows[name], "refused ") {
			t.Errorf("refusals has %s, of which the table says %q", name, rows[name])
		}
	}
}

// withNode is a cloud that has sent the Node of its agent.
type withNode struct {
	*cloud
	sent *corev1.Node
}

func (c withNode) OwnNode(context.Context) (*corev1.Node, error) { return c.sent, nil }

// TestRefusals adds a pod for each field that is refused. No container of it may run, and
// the reason in the table must be where kubectl shows it: in the status and in an event.
func TestRefusals(t *testing.T) {
	rows := readFields(t)
	for name, refusal := range refusals() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want, _, _ := strings.Cut(strings.TrimPrefix(rows[name], "refused "), " ")
				b := newBench(t)
				cfg := b.config()
				cfg.Objects = withNode{b.cloud, &corev1.Node{
					ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"by": "a person"}},
					Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}},
				}}
				b.startWith(cfg)
				defer func() { b.stop() }()
				defer func() { // what is mounted by then goes with the pod
					b.remove("pod-uid")
					settle(3 * time.Minute)
				}()
				tolerant := func(p *corev1.Pod) *corev1.Pod {
					p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
					return p
				}
				first := tolerant(newPod("first", busybox("first")))
				first.Spec.Containers[0].Name = "first"
				first.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
				b.put(first)
				settle(time.Second)
				p := tolerant(newPod("pod", busybox("main")))
				p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp", ReadOnly: true}}
				p.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
				if refusal.later {
					b.put(p)
					settle(time.Second)
				}
				refusal.edit(p)
				p.Generation++
				b.put(p)
				settle(3 * time.Minute)
				b.mu.Lock()
				st := b.status[p.UID]
				b.mu.Unlock()
				if !refusal.later && slices.Contains(b.rt.Calls(), "StartContainer main") {
					t.Errorf("the container runs; status %+v", st)
				}
				shown := st.Reason
				for _, c := range st.ContainerStatuses {
					if c.State.Waiting != nil {
						shown += " " + c.State.Waiting.Reason
					}
				}
				for _, c := range st.Conditions {
					if c.Type == corev1.PodResizePending {
						shown += " Resize" + c.Reason
					}
				}
				event := want
				if want == "CreateContainerConfigError" {
					event = "Failed"
				}
				emitted := slices.ContainsFunc(b.seen(), func(e string) bool { return strings.HasPrefix(e, event) })
				if !strings.Contains(shown, want) && want != "FailedMount" || !emitted {
					t.Errorf("want the reason %q, have %q in the status and events %q", want, shown, b.seen())
				}
				if calls := len(b.rt.Calls()); calls > 40 {
					t.Errorf("%d calls of the runtime in three minutes", calls)
				}
			})
		})
	}
}

// startWith starts an Agent with another configuration than the bench's own.
func (b *bench) startWith(cfg edged.Config) { b.startAgent(cfg) }

// TestRefusedSandboxThatIsThere: a former release has made a sandbox for a pod that is
// now refused. Its running containers go on; one that ends is not started again, and is
// not tried without a pause.
func TestRefusedSandboxThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(time.Second)
		p.Spec.HostUsers = new(false)
		p.Generation++
		b.put(p)
		settle(time.Minute)
		if b.container(p.UID).State.Running == nil {
			t.Error("what ran was stopped")
		}
		b.rt.Exit("main", 1)
		settle(5 * time.Minute)
		st := b.container(p.UID)
		if st.State.Waiting == nil || st.State.Waiting.Reason != "FailedCreatePodSandBox" || !strings.Contains(st.State.Waiting.Message, "hostUsers") {
			t.Errorf("%+v", st.State)
		}
		if n := len(b.rt.Calls()); n > 10 {
			t.Errorf("%d calls: %q", n, b.rt.Calls())
		}
	})
}

// seen lists the events so far.
func (b *bench) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}
