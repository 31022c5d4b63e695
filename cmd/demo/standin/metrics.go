package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// accountToken is the token that each pod has.
const accountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// metricsServer asks each node's kubelet endpoint for /metrics/resource, at the first InternalIP
// and the port of the Node's status, with its own token.
func metricsServer(ctx context.Context, a *app) error {
	api, err := client()
	if err != nil {
		return err
	}
	f := informers.NewSharedInformerFactory(api, 0)
	nodes := f.Core().V1().Nodes()
	started(ctx, a, f, map[string]cache.SharedIndexInformer{"nodes": nodes.Informer(), "pods": f.Core().V1().Pods().Informer()})
	kubelet := &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // as metrics-server --kubelet-insecure-tls
		DisableKeepAlives: true,
	}}
	return every(ctx, 3*time.Second, func() {
		list, _ := nodes.Lister().List(labels.Everything()) // a lister of a cache does not fail
		found := make(map[string]string)
		for _, n := range list {
			pods, err := podsMeasured(ctx, kubelet, n)
			if err != nil {
				found[n.Name] = "error: " + err.Error()
				continue
			}
			found[n.Name] = strconv.Itoa(pods) + " pods"
		}
		a.set("measured", found)
	})
}

// podsMeasured returns how many pods a node has figures of.
func podsMeasured(ctx context.Context, kubelet *http.Client, n *corev1.Node) (int, error) {
	address := ""
	for _, at := range n.Status.Addresses {
		if at.Type == corev1.NodeInternalIP {
			address = at.Address
			break
		}
	}
	token, err := os.ReadFile(accountToken)
	if err != nil {
		return 0, err
	}
	url := "https://" + net.JoinHostPort(address, strconv.Itoa(int(n.Status.DaemonEndpoints.KubeletEndpoint.Port))) + "/metrics/resource"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := kubelet.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return strings.Count(string(body), "\npod_memory_working_set_bytes{"), nil
}
