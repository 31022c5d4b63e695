package install

import (
	"bytes"
	_ "embed"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"

	pipelinesv1alpha1 "github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	rulesv1 "github.com/edgekit/edgekit/bus/rules/v1"
	groupsv1alpha1 "github.com/edgekit/edgekit/controller/groups/v1alpha1"
	sitesv1alpha1 "github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Namespace is the default namespace of edgekit's own objects.
const Namespace = "edgekit-system"

// ServiceAccount is cloudcore's, in its namespace.
const ServiceAccount = "cloudcore"

//go:embed kustomize/namespace.yaml
var namespaceFile []byte

//go:embed kustomize/rbac.yaml
var rbac []byte

//go:embed kustomize/twins.yaml
var twins []byte

//go:embed kustomize/applications.yaml
var applications []byte

//go:embed kustomize/autonomy.yaml
var autonomy []byte

//go:embed kustomize/rbac-legacy.yaml
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
	return stream(split(twins, namespace)), nil
}

// ApplicationsManifest returns what lets cloudcore make the objects of EdgeApplications in all
// namespaces. Ensure never creates it: see the warning in it.
func ApplicationsManifest(namespace string) ([]byte, error) {
	namespace, err := checkNamespace(namespace)
	if err != nil {
		return nil, err
	}
	return stream(split(applications, namespace)), nil
}

// AutonomyManifest returns an admission policy by which pods with KubeEdge's label
// app-offline.kubeedge.io=autonomy are never evicted because their node is away. It needs
// Kubernetes 1.36. Ensure never creates it.
func AutonomyManifest() []byte { return stream(split(autonomy, "")) }

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
	var crds [][]byte
	for _, of := range []func() ([][]byte, error){v1beta1.CRDs, rulesv1.CRDs, v1alpha2.CRDs, groupsv1alpha1.CRDs, sitesv1alpha1.CRDs, pipelinesv1alpha1.CRDs} {
		some, err := of()
		if err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		crds = append(crds, some...)
	}
	docs := [][]byte{bytes.ReplaceAll(namespaceFile, []byte("name: "+Namespace+"\n"), []byte("name: "+namespace+"\n"))}
	docs = append(docs, crds...)
	return append(docs, split(rbac, namespace)...), nil
}
