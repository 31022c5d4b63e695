package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta/resources"
)

// newMux makes what all nodes answer on their kubelet endpoints: logs, the list of pods, health. Other
// requests get 501.
func newMux() (*hub.Mux, error) {
	paths := http.NewServeMux()
	paths.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	paths.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}) // the client may have gone
	})
	paths.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "container %s of pod %s/%s is simulated: it writes only this line\n", r.PathValue("container"), r.PathValue("namespace"), r.PathValue("pod"))
	})
	paths.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a simulated node serves only logs, pods and healthz", http.StatusNotImplemented)
	})
	server, err := httplink.NewServer(httplink.ServerConfig{Handler: paths})
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	mux := new(hub.Mux)
	mux.HandleStream(resources.NodeProxy, server)
	return mux, nil
}
