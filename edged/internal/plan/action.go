package plan

import (
	"fmt"
	"time"
)

// ActionKind is what an action does.
type ActionKind string

// The kinds of actions. In brackets: the fields of an Action that count.
const (
	ActSetUp          ActionKind = "set up"              // prepare the pod's volumes and cgroups
	ActCreateSandbox  ActionKind = "create sandbox"      // create and start a sandbox (Attempt)
	ActKillPod        ActionKind = "kill pod"            // stop all containers (Grace), then all sandboxes
	ActStart          ActionKind = "start"               // create and start a container (Name, Attempt)
	ActStartCreated   ActionKind = "start created"       // start a container that exists (ID, Name)
	ActKill           ActionKind = "kill"                // stop one container (ID, Grace)
	ActRemove         ActionKind = "remove"              // remove one stopped container (ID)
	ActStopSandbox    ActionKind = "stop sandbox"        // release the network of a sandbox that is not ready (ID, Reason)
	ActRemoveSandbox  ActionKind = "remove sandbox"      // remove a stopped sandbox with its containers (ID)
	ActUnprepare      ActionKind = "unprepare"           // give back the pod's resource claims
	ActReportFinal    ActionKind = "report final"        // make the last status durable
	ActTearDown       ActionKind = "tear down"           // remove the pod's volumes and cgroups
	ActRemoveLogs     ActionKind = "remove logs"         // remove the pod's folder of logs
	ActReportGone     ActionKind = "report gone"         // say that the API object may go
	ActRefreshVolumes ActionKind = "refresh volumes"     // write changed content into the volumes of a running pod
	ActNoteRestartAll ActionKind = "note restart of all" // begin the pause before the containers, which are all removed, start again
	ActResize         ActionKind = "resize"              // give a running pod and its containers the resources that it was granted
)

// maxKeptPerName is how many exited containers of each name are kept: the newest, for
// its logs, and the one before, for kubectl logs --previous. It is the kubelet's
// MaxPerPodContainer of 1 besides the newest.
const maxKeptPerName = 2

// MinStopTimeout is how long a container always has to stop, whatever is left of the
// grace period: the kubelet's minimumGracePeriodInSeconds.
const MinStopTimeout = 2 * time.Second

// ReasonDeadlineExceeded is the status reason of a pod that ran longer than its
// activeDeadlineSeconds.
const ReasonDeadlineExceeded = "DeadlineExceeded"

// reasonSandboxChanged is the kubelet's reason of the event that a pod gets another
// sandbox.
const reasonSandboxChanged = "SandboxChanged"

// Action is one step towards the state that a pod's spec asks for. It may fail, or
// be cut short by a crash, at any point: the next decision starts from what is
// then there.
type Action struct {
	Kind    ActionKind
	ID      string
	Name    string
	Attempt uint32
	Grace   time.Duration
	Reason  string // for the event about it
}

func (a Action) String() string {
	s := string(a.Kind)
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.ID != "" {
		s += " id=" + a.ID
	}
	if a.Kind == ActCreateSandbox || a.Kind == ActStart {
		s += fmt.Sprintf(" attempt=%d", a.Attempt)
	}
	if a.Kind == ActKill || a.Kind == ActKillPod {
		s += fmt.Sprintf(" grace=%s", a.Grace)
	}
	return s
}
