package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// fieldManager owns the fields that Apply sets.
const fieldManager = "edgekit"

// Outcome is what Apply did with an object, in kubectl's words.
type Outcome string

// The values of an Outcome.
const (
	Created    Outcome = "created"
	Configured Outcome = "configured"
	Unchanged  Outcome = "unchanged"
	Left       Outcome = "left as it is" // for want of rights; of Ensure only
)

// Result is one object that was applied.
type Result struct {
	Outcome Outcome
	Before  *unstructured.Unstructured // as the API server had it; nil for Created
	After   *unstructured.Unstructured // as the API server has it now, or would have it after a dry run
}

// ApplyConfig sets up Apply. Client and Objects are required.
type ApplyConfig struct {
	Client  dynamic.Interface
	Objects []*unstructured.Unstructured // in an order in which they can be created
	// DryRun has the API server check everything and change nothing. An object in a namespace or
	// of a definition that a dry run does not create is Created without a check.
	DryRun bool
	Report func(Result)  // called for each object after it was applied; nil reports nothing
	Wait   time.Duration // bounds the time for the API server to serve definitions; 0 means 30s

	lenient bool // objects that may not be changed stay
}

// Apply creates or updates objects by server-side apply: fields that others own and that the
// objects do not have stay. It returns when the API server serves the definitions among them.
// It ends at the first object that the API server refuses, with an error that names it; Apply
// may then be called again.
func Apply(ctx context.Context, cfg ApplyConfig) error {
	if cfg.Client == nil {
		return errors.New("install: ApplyConfig.Client is required")
	}
	if cfg.Wait == 0 {
		cfg.Wait = 30 * time.Second
	}
	if cfg.Report == nil {
		cfg.Report = func(Result) {}
	}
	var definitions []string
	for _, obj := range cfg.Objects {
		result, err := cfg.apply(ctx, obj)
		if err != nil {
			return fmt.Errorf("install: %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		cfg.Report(result)
		if obj.GetKind() == "CustomResourceDefinition" && !cfg.DryRun {
			definitions = append(definitions, obj.GetName())
		}
	}
	for _, name := range definitions {
		if err := waitServed(ctx, cfg.Client, name, cfg.Wait); err != nil {
			return fmt.Errorf("install: CustomResourceDefinition %s: %w", name, err)
		}
	}
	return nil
}

// apply applies one object.
func (cfg *ApplyConfig) apply(ctx context.Context, obj *unstructured.Unstructured) (Result, error) {
	resource := resourceOf(cfg.Client, obj)
	before, err := resource.Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // the apply says what is wrong
		before = nil
	case err != nil:
		return Result{}, err
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return Result{}, err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: fieldManager, Force: &force}
	if cfg.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := resource.Patch(ctx, obj.GetName(), types.ApplyPatchType, body, options)
	switch {
	case err == nil:
	case cfg.DryRun && before == nil && apierrors.IsNotFound(err):
		return Result{Outcome: Created, After: obj}, nil
	case cfg.lenient && apierrors.IsForbidden(err) && (before != nil || optional(obj.GetKind())):
		return Result{Outcome: Left, Before: before, After: before}, nil
	default:
		return Result{}, err
	}
	outcome := Configured
	switch {
	case before == nil:
		outcome = Created
	case cfg.same(before, after):
		outcome = Unchanged
	}
	return Result{Outcome: outcome, Before: before, After: after}, nil
}

// same reports whether an object was not changed. The API server keeps the version of an object
// to which an apply changes nothing; after a dry run the contents decide.
func (cfg *ApplyConfig) same(before, after *unstructured.Unstructured) bool {
	if !cfg.DryRun && before.GetResourceVersion() != "" {
		return before.GetResourceVersion() == after.GetResourceVersion()
	}
	a, err1 := json.Marshal(Plain(before))
	b, err2 := json.Marshal(Plain(after))
	return err1 == nil && err2 == nil && string(a) == string(b)
}

// Plain returns a copy of an object without what the API server adds: status, versions, times
// and owners of fields.
func Plain(obj *unstructured.Unstructured) *unstructured.Unstructured {
	out := obj.DeepCopy()
	delete(out.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	return out
}

// resourceOf returns the resource of an object of one of our manifests.
func resourceOf(client dynamic.Interface, obj *unstructured.Unstructured) dynamic.ResourceInterface {
	gvr, _ := meta.UnsafeGuessKindToResource(obj.GroupVersionKind())
	if obj.GetNamespace() == "" {
		return client.Resource(gvr)
	}
	return client.Resource(gvr).Namespace(obj.GetNamespace())
}
