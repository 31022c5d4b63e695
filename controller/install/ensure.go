package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

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
	objects, err := Objects(Options{Namespace: cfg.Namespace, Twins: cfg.Twins})
	if err != nil {
		return err
	}
	if cfg.Client == nil {
		if cfg.REST == nil {
			return errors.New("install: Config.REST is required")
		}
		if cfg.Client, err = dynamic.NewForConfig(cfg.REST); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	return Apply(ctx, ApplyConfig{Client: cfg.Client, Objects: objects, Wait: cfg.Wait, lenient: true})
}

// optional reports whether Ensure goes on without an object that it may not create: missing
// rights of cloudcore show when they are needed, in the API server's own words.
func optional(kind string) bool {
	switch kind {
	case "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
		return true
	}
	return false
}

// waitServed returns when the API server serves a definition's resource.
func waitServed(ctx context.Context, client dynamic.Interface, name string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	crds := client.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
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
