// Package kube finds the API server for cloudcore and edgectl.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config reads how to reach the API server: from the file, or else from the
// service account of the pod, KUBECONFIG or ~/.kube/config.
func Config(file string) (*rest.Config, error) {
	var cfg *rest.Config
	err := rest.ErrNotInCluster
	if file == "" {
		cfg, err = rest.InClusterConfig()
	}
	if err != nil {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = file
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give a kubeconfig that names the cluster", err)
	}
	cfg.UserAgent = "edgekit"
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return noRedirects{next} })
	cfg.QPS = -1 // the API server has its own fairness; a client-side limit only adds delay
	return cfg, nil
}

// noRedirects keeps clients from following a redirect: they would send their
// credentials to the address in the answer.
type noRedirects struct{ next http.RoundTripper }

// RoundTrip hides where an answer points.
func (t noRedirects) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// WrappedRoundTripper returns the transport below, as client-go expects of a
// wrapper.
func (t noRedirects) WrappedRoundTripper() http.RoundTripper { return t.next }

// Reach returns an error of one line if the API server cannot be used.
func Reach(ctx context.Context, cfg *rest.Config) error {
	quick := rest.CopyConfig(cfg)
	quick.Timeout = 10 * time.Second
	client, err := discovery.NewDiscoveryClientForConfig(quick)
	if err != nil {
		return fmt.Errorf("API server %s: %w", cfg.Host, err)
	}
	if _, err := client.RESTClient().Get().AbsPath("/version").DoRaw(ctx); err != nil {
		return fmt.Errorf("API server %s: %w: check that it runs and that the kubeconfig is this cluster's", cfg.Host, err)
	}
	return nil
}
