package fleetmetrics

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/kubeletproxy"
)

// Discovery answers with the targets of Prometheus' HTTP service discovery (http_sd_config): one for
// each node that has a kubelet endpoint. The query parameter path is what to scrape there, /metrics if
// it is missing. All cloudcores answer with the same targets. Prometheus needs a token with the right
// nodes/metrics, since the endpoints are those of kubelets.
type Discovery struct {
	Nodes Nodes
	// GroupLabel is the label of a Node that names its group; "" has no groups.
	GroupLabel string
}

// target is one entry of http_sd_config.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// nodeLabel has the name of the node.
const nodeLabel = "__meta_edgekit_node"

// paths are the paths that Discovery knows.
func paths() []string {
	return []string{"/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes"}
}

// ServeHTTP answers one request.
func (d Discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	if path == "" {
		path = "/metrics"
	}
	if !slices.Contains(paths(), path) {
		http.Error(w, "the parameter path must be /metrics, /metrics/cadvisor, /metrics/resource or /metrics/probes", http.StatusBadRequest)
		return
	}
	out := []target{} // no node is [], not null
	for _, n := range d.Nodes.Objects() {
		if address, ok := kubeletproxy.Endpoint(n); ok { // Prometheus sends its token there: no node may write it
			out = append(out, target{Targets: []string{address.String()}, Labels: d.labels(n, path)})
		}
	}
	slices.SortFunc(out, func(a, b target) int { return cmp.Compare(a.Labels[nodeLabel], b.Labels[nodeLabel]) })
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // a client that has gone needs no answer
}

// labels are what relabelling rules of Prometheus may use. The API server has checked their form: they are
// names and label values of Nodes.
func (d Discovery) labels(n *corev1.Node, path string) map[string]string {
	labels := map[string]string{
		nodeLabel: n.Name, "__scheme__": "https", "__metrics_path__": path, "node": n.Name,
	}
	for name, value := range map[string]string{
		"__meta_edgekit_zone": n.Labels[corev1.LabelTopologyZone], "__meta_edgekit_region": n.Labels[corev1.LabelTopologyRegion], "__meta_edgekit_group": n.Labels[d.GroupLabel],
	} {
		if value != "" {
			labels[name] = value
		}
	}
	return labels
}
