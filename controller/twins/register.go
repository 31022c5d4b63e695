package twins

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// Service is the name of the Service through which the API server reaches cloudcore; package
// install creates it, and the APIService.
const Service = "edgekit-twins"

// Host is the name that the server's certificate must have, for a namespace of edgekit's own
// objects.
func Host(namespace string) string { return Service + "." + namespace + ".svc" }

// RegistrationConfig sets up a Registration. All fields but Logger are required.
type RegistrationConfig struct {
	Dynamic   dynamic.Interface
	Namespace string         // of the Service
	Address   netip.AddrPort // by which the API server reaches the Server
	Authority func() []byte  // PEM of the authority of the Server's certificate; it may change
	Logger    *slog.Logger   // nil discards
}

// Registration makes a Server known to the API server: an EndpointSlice of the Service has its
// address, and the APIService its authority. Each cloudcore has one.
type Registration struct {
	cfg   RegistrationConfig
	guard runguard.Guard
}

// NewRegistration checks the configuration.
func NewRegistration(cfg RegistrationConfig) (*Registration, error) {
	if cfg.Dynamic == nil || cfg.Namespace == "" || !cfg.Address.IsValid() || cfg.Authority == nil {
		return nil, errors.New("twins: RegistrationConfig.Dynamic, Namespace, Address and Authority are required")
	}
	if cfg.Address.Addr().IsLoopback() || cfg.Address.Addr().IsUnspecified() {
		return nil, fmt.Errorf("twins: RegistrationConfig.Address is %s, to which an API server does not proxy: name an address of this machine in the network", cfg.Address)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registration{cfg: cfg}, nil
}

// renewed is the annotation of an EndpointSlice with the time when its cloudcore last renewed it.
const renewed = "edgekit.io/renewed"

const (
	registerEvery = time.Minute     // how often the address is renewed
	registerRetry = 5 * time.Second // after the API server refused
	unregister    = 5 * time.Second // how long the end may take
	expiry        = 5 * time.Minute // addresses that are not renewed for so long are removed
)

// Run registers the server, and renews its address and its authority until ctx ends. It then
// removes the address and returns nil. Meanwhile it removes the addresses of cloudcores that
// were killed: those that it has not seen renewed for five minutes. A second Run returns
// controller.ErrStarted.
func (r *Registration) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	var done []byte
	warned := false
	others := make(map[string]seen)
	for ctx.Err() == nil {
		wait := registerEvery
		authority := r.cfg.Authority()
		err := r.apply(ctx, authority)
		if err == nil {
			err = r.removeExpired(ctx, others)
		}
		switch {
		case err == nil:
			if !bytes.Equal(authority, done) {
				r.cfg.Logger.Info("live values are registered with the API server", "address", r.cfg.Address.String())
			}
			done, warned = authority, false
		case ctx.Err() == nil:
			wait = registerRetry
			if !warned {
				r.cfg.Logger.Warn("live values cannot be registered with the API server, trying on: apply what 'edgectl manifest --twins' prints", "err", err)
			}
			warned = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	// The work of Run is over; the removal needs a context of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unregister)
	defer cancel()
	if err := r.slices().Delete(ctx, r.slice(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.cfg.Logger.Warn("the address of this cloudcore stays registered", "slice", r.slice(), "err", err)
	}
	return nil
}

// seen is the version of another cloudcore's EndpointSlice, and since when it is that.
type seen struct {
	version string
	since   time.Time
}

// removeExpired removes the EndpointSlices that nobody renews. Times are this machine's: clocks
// of cloudcores may differ.
func (r *Registration) removeExpired(ctx context.Context, others map[string]seen) error {
	list, err := r.slices().List(ctx, metav1.ListOptions{LabelSelector: labels.Set(r.labels()).String()})
	if err != nil {
		return fmt.Errorf("EndpointSlices of Service %s: %w", Service, err)
	}
	there := make(map[string]bool)
	for i := range list.Items {
		slice := &list.Items[i]
		name, version := slice.GetName(), slice.GetResourceVersion()
		if name == r.slice() || slice.GetAnnotations()[renewed] == "" {
			continue
		}
		there[name] = true
		if others[name].version != version {
			others[name] = seen{version, time.Now()}
			continue
		}
		if time.Since(others[name].since) < expiry {
			continue
		}
		// The version must still be this one: its cloudcore may renew it now.
		err := r.slices().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("EndpointSlice %s: %w", name, err)
		}
		r.cfg.Logger.Info("the address of a cloudcore that is gone was removed", "slice", name)
	}
	maps.DeleteFunc(others, func(name string, _ seen) bool { return !there[name] })
	return nil
}

func (r *Registration) labels() map[string]string {
	return map[string]string{"kubernetes.io/service-name": Service, "endpointslice.kubernetes.io/managed-by": "cloudcore.edgekit.io"}
}

func (r *Registration) slices() dynamic.ResourceInterface {
	return r.cfg.Dynamic.Resource(schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}).Namespace(r.cfg.Namespace)
}

// slice is the name of the EndpointSlice: one for each address.
func (r *Registration) slice() string {
	return Service + "-" + strings.NewReplacer(".", "-", ":", "-", "[", "", "]", "").Replace(r.cfg.Address.String())
}

func (r *Registration) apply(ctx context.Context, authority []byte) error {
	family := "IPv4"
	if r.cfg.Address.Addr().Is6() {
		family = "IPv6"
	}
	slice := map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
		"metadata": map[string]any{
			"name": r.slice(), "namespace": r.cfg.Namespace, "labels": r.labels(),
			"annotations": map[string]string{renewed: time.Now().UTC().Format(time.RFC3339Nano)},
		},
		"endpoints": []any{map[string]any{"addresses": []string{r.cfg.Address.Addr().String()}, "conditions": map[string]bool{"ready": true}}},
		"ports":     []any{map[string]any{"name": "https", "port": r.cfg.Address.Port(), "protocol": "TCP"}},
	}
	if err := patch(ctx, r.slices(), r.slice(), slice); err != nil {
		return fmt.Errorf("EndpointSlice %s: %w", r.slice(), err)
	}
	service := Version + "." + Group
	api := map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": service},
		"spec": map[string]any{"caBundle": base64.StdEncoding.EncodeToString(authority)},
	}
	// Merged and not applied: to apply it takes the right to create any APIService.
	raw, err := json.Marshal(api)
	if err != nil {
		return err
	}
	gvr := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	if _, err := r.cfg.Dynamic.Resource(gvr).Patch(ctx, service, types.MergePatchType, raw, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("APIService %s: %w", service, err)
	}
	return nil
}

func patch(ctx context.Context, client dynamic.ResourceInterface, name string, obj any) error {
	raw, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, name, types.ApplyPatchType, raw, metav1.PatchOptions{FieldManager: "cloudcore-twins", Force: new(true)})
	return err
}
