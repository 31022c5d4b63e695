package install

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	rulesv1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Namespace is the default namespace of edgekit's own objects.
const Namespace = "edgekit-system"

// ServiceAccount is cloudcore's, in its namespace.
const ServiceAccount = "cloudcore"

//go:embed rbac.yaml
var rbac []byte

//go:embed twins.yaml
var twins []byte

//go:embed autonomy.yaml
var autonomy []byte

//go:embed rbac-legacy.yaml
var rbacLegacy []byte

// Manifest returns everything as one YAML stream, in an order in which it can be
// applied. An empty namespace means Namespace.
func Manifest(namespace string) ([]byte, error) {
	docs, err := documents(namespace)
	if err != nil {
		return nil, err
	}
	return stream(docs), nil
}

// LegacyManifest returns the rights that cloudcore needs besides where the API
// server has no constrained impersonation (Kubernetes before 1.36). Read its
// warning: they amount to those of an administrator. Ensure never creates them.
func LegacyManifest(namespace string) ([]byte, error) {
	namespace, err := checkNamespace(namespace)
	if err != nil {
		return nil, err
	}
	return stream(split(rbacLegacy, namespace)), nil
}

// TwinsManifest returns what makes the live values of devices an API of the cluster. Ensure
// creates it if Config.Twins is set. It must not be there unless a cloudcore serves them: an
// API that does not answer keeps namespaces from being deleted.
func TwinsManifest(namespace string) ([]byte, error) {
	namespace, err := checkNamespace(namespace)
	if err != nil {
		return nil, err
	}
	return stream(twinsDocuments(namespace)), nil
}

// AutonomyManifest returns an admission policy by which pods with KubeEdge's label
// app-offline.kubeedge.io=autonomy are never evicted because their node is away. It needs
// Kubernetes 1.36. Ensure never creates it.
func AutonomyManifest() []byte { return stream(split(autonomy, "")) }

func twinsDocuments(namespace string) [][]byte { return split(twins, namespace) }

// stream joins documents to one YAML stream.
func stream(docs [][]byte) []byte {
	var out bytes.Buffer
	for _, doc := range docs {
		out.WriteString("---\n")
		out.Write(bytes.TrimPrefix(bytes.TrimSpace(doc), []byte("---\n")))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// split returns the documents of a file of rights, for a namespace.
func split(file []byte, namespace string) [][]byte {
	rights := bytes.ReplaceAll(file, []byte("namespace: "+Namespace+"\n"), []byte("namespace: "+namespace+"\n"))
	return bytes.Split(rights, []byte("\n---\n"))
}

func checkNamespace(namespace string) (string, error) {
	if namespace == "" {
		return Namespace, nil
	}
	if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
		return "", fmt.Errorf("install: namespace %q: %s", namespace, problems[0])
	}
	return namespace, nil
}

// documents yields each object's YAML: the namespace, the definitions, the
// rights.
func documents(namespace string) ([][]byte, error) {
	namespace, err := checkNamespace(namespace)
	if err != nil {
		return nil, err
	}
	crds, err := v1beta1.CRDs()
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	rules, err := rulesv1.CRDs()
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	jobs, err := v1alpha2.CRDs()
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	crds = slices.Concat(crds, rules, jobs)
	docs := [][]byte{[]byte("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n")}
	docs = append(docs, crds...)
	return append(docs, split(rbac, namespace)...), nil
}

// Config sets up Ensure. REST or Client is required.
type Config struct {
	REST      *rest.Config      // how the API server is reached
	Client    dynamic.Interface // takes the place of one made from REST
	Namespace string            // empty means the constant Namespace
	Twins     bool              // create what TwinsManifest has, too
	// Wait bounds the time for the API server to serve the resources; 0 means
	// 30s.
	Wait time.Duration
}

// Ensure creates what is missing in the cluster, updates what differs from this
// version, and returns when the API server serves the device resources. An existing
// object that Ensure may not change stays as it is; an object that it may not
// create is an error that names it.
func Ensure(ctx context.Context, cfg Config) error {
	if cfg.Client == nil {
		if cfg.REST == nil {
			return errors.New("install: Config.REST is required")
		}
		client, err := dynamic.NewForConfig(cfg.REST)
		if err != nil {
			return fmt.Errorf("install: %w", err)
		}
		cfg.Client = client
	}
	if cfg.Wait == 0 {
		cfg.Wait = 30 * time.Second
	}
	docs, err := documents(cfg.Namespace)
	if err != nil {
		return err
	}
	if cfg.Twins {
		namespace, err := checkNamespace(cfg.Namespace)
		if err != nil {
			return err
		}
		docs = append(docs, twinsDocuments(namespace)...)
	}
	var definitions []string
	for _, doc := range docs {
		var obj unstructured.Unstructured
		if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
			return fmt.Errorf("install: %w", err)
		}
		if err := ensure(ctx, cfg.Client, &obj); err != nil {
			return fmt.Errorf("install: %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		if obj.GetKind() == "CustomResourceDefinition" {
			definitions = append(definitions, obj.GetName())
		}
	}
	for _, name := range definitions {
		if err := waitServed(ctx, cfg, name); err != nil {
			return fmt.Errorf("install: CustomResourceDefinition %s: %w", name, err)
		}
	}
	return nil
}

// ensure applies one object on the server's side, under a field manager of its
// own.
func ensure(ctx context.Context, client dynamic.Interface, obj *unstructured.Unstructured) error {
	gvr, _ := meta.UnsafeGuessKindToResource(obj.GroupVersionKind())
	resource := resourceFor(client, gvr, obj.GetNamespace())
	body, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(ctx, obj.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "edgekit", Force: &force})
	if apierrors.IsForbidden(err) {
		if _, getErr := resource.Get(ctx, obj.GetName(), metav1.GetOptions{}); getErr == nil {
			return nil
		}
		if optional(obj.GetKind()) {
			// Missing rights of cloudcore show when they are needed, in the API
			// server's own words.
			return nil
		}
	}
	return err
}

func optional(kind string) bool {
	switch kind {
	case "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding":
		return true
	}
	return false
}

func resourceFor(client dynamic.Interface, gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return client.Resource(gvr)
	}
	return client.Resource(gvr).Namespace(namespace)
}

func waitServed(ctx context.Context, cfg Config, name string) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Wait)
	defer cancel()
	crds := cfg.Client.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && established(crd) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not established by the API server: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}
