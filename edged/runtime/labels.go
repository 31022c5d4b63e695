package runtime

// The names under which pods and containers carry what the Agent must find
// again after a restart. They are those of the kubelet, so that a node can
// change from one to the other with its pods running.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash               = "io.kubernetes.container.hash"
	AnnotationRestartCount       = "io.kubernetes.container.restartCount"
	AnnotationTerminationPath    = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationPolicy  = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStop            = "io.kubernetes.container.preStopHandler"
	AnnotationPorts              = "io.kubernetes.container.ports"
	AnnotationPodGrace           = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationSeen               = "kubernetes.io/config.seen"
	AnnotationSource             = "kubernetes.io/config.source"
	AnnotationNode               = "edgekit.io/node"           // whose sandbox or container this is, where agents share a runtime
	AnnotationBackOff            = "edgekit.io/backoff"        // how long to wait after this container's exit, as a duration
	AnnotationResources          = "edgekit.io/resources"      // what the pod or container was made with, as JSON
	AnnotationUserNamespace      = "edgekit.io/user-namespace" // of a sandbox: the first id of the host and how many, "65536+65536"
	AnnotationTerminationMessage = "edgekit.io/termination-message-file"
)
