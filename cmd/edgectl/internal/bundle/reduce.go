package bundle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plainSettings are the settings of edgecore whose text is copied. Numbers, switches and times
// are copied of all settings; any other text is only said to be set.
func plainSettings() []string {
	return []string{
		"cgroupdriver", "cgrouproot", "cloud", "clusterdns", "clusterdomain", "containerruntimeendpoint", "datadir", "kernellog", "localapilisten", "logformat", "loglevel", "maxpods",
		"metricslisten", "mqttlisten", "mqttmode", "nodeip", "podlogdir", "pluginregistrydir", "resolvconf", "runtimeendpoint", "staticpoddir", "transport", "evictionhard", "evictionsoft",
		"registertaints", "registerwithtaints", "topologymanagerpolicy", "cpumanagerpolicy", "memorymanagerpolicy", "kubereserved", "systemreserved",
	}
}

// Settings copies the settings of a program from JSON, by their names: those of plainSettings,
// and numbers and switches. Of any other it says only "(set)" or "(empty)".
func Settings(text []byte) ([]byte, error) {
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return indent(reduceSettings("", all))
}

func reduceSettings(name string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		if name != "" && name != "edgecore" && !plainSetting(name) {
			return fmt.Sprintf("(%d set)", len(v)) // its keys may be data
		}
		out := make(map[string]any, len(v))
		for key, one := range v {
			out[key] = reduceSettings(key, one)
		}
		return out
	case []any:
		if !plainSetting(name) {
			return fmt.Sprintf("(%d set)", len(v))
		}
		return v
	case string:
		switch {
		case v == "":
			return "(empty)"
		case plainSetting(name):
			return string(Scrub([]byte(v)))
		}
		return "(set)"
	}
	return number(name, value)
}

// number is a number, a switch or nothing, unless its name says that it is a secret.
func number(name string, value any) any {
	name = strings.ToLower(name)
	if slices.ContainsFunc([]string{"pass", "pwd", "token", "secret", "credential", "psk", "pin"}, func(word string) bool { return strings.Contains(name, word) }) {
		return removed
	}
	return value
}

func plainSetting(name string) bool {
	return slices.Contains(plainSettings(), strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name)))
}

// pod is what is copied of a Pod. Commands, variables, annotations and messages of containers may
// hold secrets: of them only names and numbers are copied.
type pod struct {
	Namespace  string                `json:"namespace"`
	Name       string                `json:"name"`
	UID        string                `json:"uid"`
	Created    metav1.Time           `json:"created"`
	Deleted    *metav1.Time          `json:"deleted,omitempty"`
	Priority   string                `json:"priorityClass,omitempty"`
	Restart    corev1.RestartPolicy  `json:"restartPolicy,omitempty"`
	HostNet    bool                  `json:"hostNetwork,omitempty"`
	Volumes    []string              `json:"volumes,omitempty"` // names and kinds
	Containers []container           `json:"containers"`
	Phase      corev1.PodPhase       `json:"phase"`
	Reason     string                `json:"reason,omitempty"`
	Message    string                `json:"message,omitempty"`
	Conditions []corev1.PodCondition `json:"conditions,omitempty"`
}

type container struct {
	Name      string                      `json:"name"`
	Image     string                      `json:"image"`
	Env       []string                    `json:"env,omitempty"` // names alone
	Arguments int                         `json:"arguments"`     // how many there are
	Resources corev1.ResourceRequirements `json:"resources"`
	Ports     []int32                     `json:"ports,omitempty"`
	Mounts    []string                    `json:"mounts,omitempty"` // paths
	Ready     bool                        `json:"ready"`
	Restarts  int32                       `json:"restarts"`
	State     string                      `json:"state,omitempty"`
	Before    string                      `json:"before,omitempty"`
}

// Pods copies what may be copied from a list of Pods in JSON.
func Pods(text []byte) ([]byte, error) {
	var list corev1.PodList
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	out := []pod{}
	for i := range list.Items {
		out = append(out, podOf(&list.Items[i]))
	}
	return indent(out)
}

func podOf(p *corev1.Pod) pod {
	out := pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Created: p.CreationTimestamp, Deleted: p.DeletionTimestamp, Priority: p.Spec.PriorityClassName,
		Restart: p.Spec.RestartPolicy, HostNet: p.Spec.HostNetwork, Phase: p.Status.Phase, Reason: p.Status.Reason, Message: string(Scrub([]byte(p.Status.Message))), Containers: []container{},
	}
	for _, c := range p.Status.Conditions {
		c.Message = string(Scrub([]byte(c.Message)))
		out.Conditions = append(out.Conditions, c)
	}
	for _, v := range p.Spec.Volumes {
		out.Volumes = append(out.Volumes, v.Name+" "+volumeKind(v))
	}
	statuses := make(map[string]corev1.ContainerStatus)
	for _, st := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		statuses[st.Name] = st
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		st := statuses[c.Name]
		one := container{Name: c.Name, Image: c.Image, Arguments: len(c.Command) + len(c.Args), Resources: c.Resources, Ready: st.Ready, Restarts: st.RestartCount, State: stateOf(st.State), Before: stateOf(st.LastTerminationState)}
		for _, e := range c.Env {
			one.Env = append(one.Env, e.Name)
		}
		for _, port := range c.Ports {
			one.Ports = append(one.Ports, port.ContainerPort)
		}
		for _, m := range c.VolumeMounts {
			one.Mounts = append(one.Mounts, m.Name+" "+m.MountPath)
		}
		out.Containers = append(out.Containers, one)
	}
	return out
}

// volumeKind is the name of the field that is set: "secret", "hostPath". Its content is not copied.
func volumeKind(v corev1.Volume) string {
	text, err := json.Marshal(v.VolumeSource)
	var set map[string]json.RawMessage
	if err != nil || json.Unmarshal(text, &set) != nil {
		return ""
	}
	for kind := range set {
		return kind
	}
	return ""
}

// stateOf is a state without what the container said.
func stateOf(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running since " + s.Running.StartedAt.UTC().Format("2006-01-02T15:04:05Z")
	case s.Waiting != nil:
		return strings.TrimSpace("waiting " + s.Waiting.Reason + " " + string(Scrub([]byte(s.Waiting.Message))))
	case s.Terminated != nil:
		return fmt.Sprintf("ended with %d, signal %d, %s at %s", s.Terminated.ExitCode, s.Terminated.Signal, s.Terminated.Reason, s.Terminated.FinishedAt.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return ""
}

// Node copies what may be copied from a Node in JSON: its status, its taints, and which labels and
// annotations it has.
func Node(text []byte) ([]byte, error) {
	var n corev1.Node
	if err := json.Unmarshal(text, &n); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	annotations := []string{}
	for key := range n.Annotations {
		annotations = append(annotations, key)
	}
	slices.Sort(annotations)
	return indent(map[string]any{
		"name": n.Name, "uid": n.UID, "created": n.CreationTimestamp, "labels": n.Labels, "annotations": annotations, "taints": n.Spec.Taints, "unschedulable": n.Spec.Unschedulable,
		"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable, "conditions": n.Status.Conditions, "addresses": n.Status.Addresses, "nodeInfo": n.Status.NodeInfo,
	})
}

// plainCNI are the keys of a CNI configuration whose text is copied: those of the reference
// plugins and flannel.
func plainCNI() []string {
	return []string{
		"addIf", "bridge", "capabilities", "cniVersion", "cniVersions", "delegate", "dns", "domain", "dst", "gateway", "gw", "hairpinMode", "ifName", "ipam", "ipMasqBackend", "isDefaultGateway", "isGateway",
		"master", "mode", "name", "nameservers", "plugins", "rangeEnd", "ranges", "rangeStart", "routes", "search", "subnet", "type",
	}
}

// CNI copies a CNI configuration: the keys of plainCNI, and numbers and switches.
func CNI(text []byte) ([]byte, error) {
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	return indent(reduceCNI("plugins", all))
}

func reduceCNI(key string, value any) any {
	plain := slices.Contains(plainCNI(), key)
	switch v := value.(type) {
	case map[string]any:
		if !plain {
			return removed
		}
		out := make(map[string]any, len(v))
		for name, one := range v {
			out[name] = reduceCNI(name, one)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, one := range v {
			out = append(out, reduceCNI(key, one))
		}
		return out
	case string:
		if !plain {
			return removed
		}
		return string(Scrub([]byte(v)))
	}
	return number(key, value)
}

func indent(value any) ([]byte, error) {
	text, err := json.MarshalIndent(value, "", "  ")
	return append(text, '\n'), err
}
