package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

const (
	// restartPath and devicePath are KubeEdge's paths for somebody at the machine. Only the
	// node's administrator has them (apiserver.Config.Extensions).
	restartPath = "POST /api/v1/namespaces/*/pods/restart"
	devicePath  = "PUT /apis/devices.kubeedge.io/v1beta1/namespaces/*/devices/*"

	maxRestartBody = 64 << 10 // bytes: names of pods
	maxDeviceBody  = 1 << 20
)

// restarter restarts containers of a pod; see edged.Agent.RestartContainers.
type restarter interface {
	RestartContainers(ctx context.Context, namespace, name string, containers ...string) ([]string, error)
}

// restartAnswer is KubeEdge's answer to a restart, with its capital letters.
type restartAnswer struct {
	ErrMessages []string `json:"errMessages"`
	LogMessages []string `json:"LogMessages"`
}

// machinePaths are the paths of the node's own API by which somebody at the machine restarts pods
// and sets devices.
func machinePaths(agent restarter, engine *twin.Engine) map[string]http.Handler {
	return map[string]http.Handler{restartPath: restartHandler(agent), devicePath: deviceHandler(engine)}
}

// restartHandler restarts the pods whose names are in the body, a list in JSON. The parameter
// container, which may be repeated, restarts only these containers.
func restartHandler(agent restarter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var names []string
		if err := readBody(w, r, maxRestartBody, &names); err != nil || len(names) == 0 {
			failStatus(w, apierrors.NewBadRequest(`the body must be a list of names of pods in JSON, such as ["web"]`))
			return
		}
		namespace := strings.Split(r.URL.Path, "/")[4]
		out := restartAnswer{ErrMessages: []string{}, LogMessages: []string{}}
		for _, name := range names {
			done, err := agent.RestartContainers(r.Context(), namespace, name, r.URL.Query()["container"]...)
			if err != nil {
				out.ErrMessages = append(out.ErrMessages, err.Error())
				continue
			}
			out.LogMessages = append(out.LogMessages, fmt.Sprintf("pod %s/%s: restarting %s", namespace, name, strings.Join(done, ", ")))
		}
		answerJSON(w, out)
	})
}

// deviceHandler sets the desired values of a Device in its twin on this node, and asks no
// cloud. Whatever else the Device in the body says is left alone, with a warning.
func deviceHandler(engine *twin.Engine) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := strings.Split(r.URL.Path, "/")
		namespace, name := part[5], part[7]
		var body json.RawMessage
		var device v1beta1.Device
		err := readBody(w, r, maxDeviceBody, &body)
		if err == nil {
			err = jsonlimit.Unmarshal(body, &device)
		}
		switch {
		case err != nil:
			failStatus(w, apierrors.NewBadRequest("the body must be a Device in JSON: "+err.Error()))
			return
		case device.Name != name || device.Namespace != "" && device.Namespace != namespace:
			failStatus(w, apierrors.NewBadRequest(fmt.Sprintf("the body is the Device %s/%s and the path names %s/%s", device.Namespace, device.Name, namespace, name)))
			return
		}
		values := make(map[string]string)
		for _, p := range device.Spec.Properties {
			if p.Desired != nil {
				values[p.Name] = p.Desired.Value
			}
		}
		if len(values) == 0 {
			failStatus(w, apierrors.NewBadRequest("the Device has no desired value (spec.properties[].desired.value): nothing else can be set on the node"))
			return
		}
		if err := engine.Desire(r.Context(), twin.Values{Device: namespace + "/" + name, Values: values}); err != nil {
			failStatus(w, err)
			return
		}
		w.Header().Set("Warning", `299 - "only desired values are set, in the twin on this node: the Device in the cloud stays as it is"`)
		answerJSON(w, body)
	})
}

// readBody reads a body in JSON of at most most bytes.
func readBody(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return err
	}
	return jsonlimit.Unmarshal(body, into)
}

// failStatus answers with an error as the Kubernetes API does.
func failStatus(w http.ResponseWriter, err error) {
	status := metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: err.Error()}
	var own apierrors.APIStatus
	var coded *twin.Error
	switch {
	case errors.As(err, &own):
		status = own.Status()
	case errors.As(err, &coded):
		status.Code, status.Reason, status.Message = int32(coded.Code), metav1.StatusReasonInvalid, coded.Reason
		if coded.Code == twin.CodeUnknown {
			status.Reason = metav1.StatusReasonNotFound
		}
	}
	status.Kind, status.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // a client that is gone needs no answer
}
