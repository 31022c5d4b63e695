package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edgekit/edgekit/meta"
)

// streaming reports whether the request is for a pod's log, exec, attach or port forward,
// which the node's kubelet API serves.
func streaming(q request) bool {
	return q.group == "" && q.resource == "pods" && slices.Contains([]string{"log", "exec", "attach", "portforward"}, q.subresource)
}

// stream passes the request to the kubelet API, under the kubelet's path.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q request, res *served) error {
	if s.cfg.Kubelet == nil || res == nil {
		return unavailable(q, "this node's API does not serve pods/"+q.subresource)
	}
	it, err := s.load(r.Context(), res, meta.Key{Resource: "pods", Namespace: q.namespace, Name: q.name})
	pod, ok := it.object.(*corev1.Pod)
	if errors.Is(err, errNotThere) || err == nil && !ok {
		return apierrors.NewNotFound(q.groupResource(), q.name)
	}
	if err != nil {
		return err
	}
	to, err := kubeletURL(q, r.URL.Query(), pod)
	if err != nil {
		return err
	}
	inner := r.Clone(r.Context())
	inner.URL, inner.RequestURI = to, to.RequestURI()
	inner.Header.Del("Authorization")
	s.cfg.Kubelet.ServeHTTP(w, inner)
	return nil
}

// kubeletURL returns the kubelet's path and parameters for those of the API server.
func kubeletURL(q request, values url.Values, pod *corev1.Pod) (*url.URL, error) {
	if q.subresource == "portforward" {
		out := url.Values{}
		for _, ports := range values["ports"] {
			for port := range strings.SplitSeq(ports, ",") {
				out.Add("port", port)
			}
		}
		return &url.URL{Path: "/portForward/" + pod.Namespace + "/" + pod.Name, RawQuery: out.Encode()}, nil
	}
	container, err := containerOf(values.Get("container"), pod)
	if err != nil {
		return nil, err
	}
	values.Del("container")
	if q.subresource == "log" {
		return &url.URL{Path: "/containerLogs/" + pod.Namespace + "/" + pod.Name + "/" + container, RawQuery: values.Encode()}, nil
	}
	out := url.Values{"command": values["command"]}
	for theirs, ours := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if v := values.Get(theirs); v != "" && v != "0" && v != "false" {
			out.Set(ours, "1")
		}
	}
	return &url.URL{Path: "/" + q.subresource + "/" + pod.Namespace + "/" + pod.Name + "/" + container, RawQuery: out.Encode()}, nil
}

// containerOf returns the container of a request that names none, by the API server's rule.
func containerOf(name string, pod *corev1.Pod) (string, error) {
	var all []string
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
	}
	switch {
	case name == "" && len(all) == 1:
		return all[0], nil
	case name == "" && slices.Contains(all, pod.Annotations["kubectl.kubernetes.io/default-container"]):
		return pod.Annotations["kubectl.kubernetes.io/default-container"], nil
	case name == "":
		return "", badRequest("a container name must be specified for pod %s, choose one of: %v", pod.Name, all)
	}
	known := slices.Clone(all)
	for _, c := range pod.Spec.InitContainers {
		known = append(known, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		known = append(known, c.Name)
	}
	if !slices.Contains(known, name) {
		return "", badRequest("container %s is not valid for pod %s", fmt.Sprintf("%.63s", name), pod.Name)
	}
	return name, nil
}
