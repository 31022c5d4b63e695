package install

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Options say what a manifest has. The zero value is what Manifest returns.
type Options struct {
	Namespace string // empty means the constant Namespace
	// Legacy adds the rights of LegacyManifest.
	Legacy bool
	// Twins adds what TwinsManifest has.
	Twins bool
	// Applications adds what ApplicationsManifest has.
	Applications bool
	// Autonomy adds what AutonomyManifest has.
	Autonomy bool
	// More is further YAML, several documents with "---" lines between them.
	More []byte
	// Cloudcore adds cloudcore itself; nil leaves it to run elsewhere.
	Cloudcore *Cloudcore
}

// Render returns the objects as one YAML stream for kubectl apply.
func Render(o Options) ([]byte, error) {
	docs, err := o.documents()
	if err != nil {
		return nil, err
	}
	return stream(docs), nil
}

// Objects returns the objects that Render writes, in an order in which they can be created.
func Objects(o Options) ([]*unstructured.Unstructured, error) {
	docs, err := o.documents()
	if err != nil {
		return nil, err
	}
	out := make([]*unstructured.Unstructured, 0, len(docs))
	for _, doc := range docs {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		if obj.GetKind() == "" || obj.GetName() == "" {
			return nil, fmt.Errorf("install: Options.More has a document without kind or name: remove it")
		}
		out = append(out, obj)
	}
	return out, nil
}

// documents yields each object's YAML.
func (o Options) documents() ([][]byte, error) {
	namespace, err := checkNamespace(o.Namespace)
	if err != nil {
		return nil, err
	}
	docs, err := documents(namespace)
	if err != nil {
		return nil, err
	}
	if o.Legacy {
		docs = append(docs, split(rbacLegacy, namespace)...)
	}
	if o.Twins {
		docs = append(docs, split(twins, namespace)...)
	}
	if o.Applications {
		docs = append(docs, split(applications, namespace)...)
	}
	if o.Autonomy {
		docs = append(docs, split(autonomy, namespace)...)
	}
	for doc := range bytes.SplitSeq(o.More, []byte("\n---\n")) {
		if doc = bytes.TrimPrefix(bytes.TrimSpace(doc), []byte("---\n")); len(doc) > 0 {
			docs = append(docs, doc)
		}
	}
	if o.Cloudcore != nil {
		more, err := o.Cloudcore.documents(namespace)
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	return docs, nil
}
