package eventstest

// Meaning is what the table says of one reason.
type Meaning struct {
	Object string // the kind that the Event is about
	Text   string
}

// computed are the reasons of places that do not name a constant, by folder, type and expression.
func computed() map[string][]string {
	admission := []string{
		"AppArmor", "Evicted", "NodeAffinity", "NodePorts", "NodeShutdown", "OutOf*", "PodFeatureUnsupported", "PodLevelResourcesNotSupported", "PodOSNotSupported",
		"PodOSSelectorNodeLabelDoesNotMatch", "Preempting", "SMTAlignmentError", "SupplementalGroupsPolicyNotSupported", "SysctlForbidden", "TaintToleration",
		"TopologyAffinityError", "UnexpectedAdmissionError",
	}
	devices := []string{"SMTAlignmentError", "TopologyAffinityError", "UnexpectedAdmissionError"}
	return map[string][]string{
		"cmd/edgecore Warning: reason":                         {"StoreDamaged", "StoreUnwritable"},
		"controller/devices Warning: reason":                   {"ConditionFalse", "DesiredNotApplied", "DesiredRefused"},
		"controller/devices Warning: want.Reason":              {"ModelMissing"},
		"edged Warning: event":                                 {"ResizeDeferred", "ResizeInfeasible"},
		"edged Warning: reason":                                {"AlreadyMountedVolume", "CertificateNotRenewed", "FailedMount", "VolumePermissionChangeInProgress"},
		"edged/internal/actions Normal: reason":                {"SandboxChanged"},
		"edged/internal/actions Warning: reason":               {"FailedCreatePodSandBox", "FailedMount", "FailedPrepareDynamicResources"},
		"edged/internal/actions Warning: ve.Reason()":          {"FailedAttachVolume", "FailedMount"},
		"edged/internal/prober Warning: reason":                {"ProbeWarning", "Unhealthy"},
		"edged Warning: refused.Reason":                        devices,
		"edged Warning: why.Reason":                            devices,
		"edged Warning: w.rejected.Reason":                     admission,
		`edged/jobs Warning: prefix + "Failed"`:                perJob("Failed"),
		`edged/jobs Warning: prefix + "RolledBack"`:            perJob("RolledBack"),
		`edged/jobs Normal: prefix + "Started"`:                perJob("Started"),
		`edged/jobs Normal: prefix + "Successful"`:             perJob("Successful"),
		`edged/jobs Normal: prefix + "WaitingForConfirmation"`: perJob("WaitingForConfirmation"),
		"edged/nodestatus Normal: reason":                      {"NodeHasDiskPressure", "NodeHasInsufficientMemory", "NodeHasInsufficientPID", "NodeHasNoDiskPressure", "NodeHasSufficientMemory", "NodeHasSufficientPID", "NodeNotReady", "NodeReady"},
	}
}

// perJob are the reasons of a step of each kind of job.
func perJob(step string) []string {
	return []string{"ConfigUpdate" + step, "ImagePrePull" + step, "NodeUpgrade" + step}
}

// meanings is the vocabulary.
func meanings() map[string]Meaning {
	all := make(map[string]Meaning)
	for object, texts := range map[string]map[string]string{
		"Node": {
			"ContainerGCFailed":                  "Containers that nobody needs could not be removed.",
			"DuplicateNodeIdentity":              "Two programs with this node's identity want the link; see the message for both.",
			"EvictionThresholdMet":               "Something ran short, and pods may be evicted.",
			"FailedNodeAllocatableEnforcement":   "A limit for all pods, or for the system, could not be set.",
			"FreeDiskSpaceFailed":                "Removing images did not free enough of the disk.",
			"ImageGCFailed":                      "Images that nobody needs could not be removed.",
			"InvalidDiskCapacity":                "The runtime does not say how large its disk is.",
			"NodeAllocatableEnforced":            "A limit for all pods, or for the system, was set.",
			"NodeDisconnected":                   "The node has been without a link for so long that its pods are not ready in the cloud. They run on.",
			"NodeHasDiskPressure":                "The condition DiskPressure became true.",
			"NodeHasInsufficientMemory":          "The condition MemoryPressure became true.",
			"NodeHasInsufficientPID":             "The condition PIDPressure became true.",
			"NodeHasNoDiskPressure":              "The condition DiskPressure became false.",
			"NodeHasSufficientMemory":            "The condition MemoryPressure became false.",
			"NodeHasSufficientPID":               "The condition PIDPressure became false.",
			"NodeNotReady":                       "The condition Ready became false.",
			"NodeReady":                          "The condition Ready became true.",
			"NodeReconnected":                    "The node has a link again.",
			"NodeShutdown":                       "The machine shuts down, and pods are ended in their order; of a pod: it came while the machine shut down.",
			"Rebooted":                           "The machine was started again.",
			"RegisteredAgain":                    "The Node was deleted, and the node registered again.",
			"SecretsOnDisk":                      "No tmpfs can be mounted, so secrets of pods are on the disk.",
			"Starting":                           "edgecore started.",
			"StoreDamaged":                       "The node's store was damaged and set aside; the cloud fills a new one.",
			"StoreUnwritable":                    "The node's disk took no writes for a while; reports of that time are late or missing.",
			"SystemOOM":                          "The kernel killed a process since the machine was out of memory.",
			"WrongCgroupDriver":                  "The runtime uses another cgroup driver than edgecore.",
			"ConfigUpdateFailed":                 "A ConfigUpdateJob failed on the node.",
			"ConfigUpdateRolledBack":             "A ConfigUpdateJob was undone on the node.",
			"ConfigUpdateStarted":                "The node applies a ConfigUpdateJob.",
			"ConfigUpdateSuccessful":             "The node has applied a ConfigUpdateJob.",
			"ConfigUpdateWaitingForConfirmation": "A ConfigUpdateJob waits for somebody at the node: edgectl confirm.",
			"ImagePrePullFailed":                 "An ImagePrePullJob failed on the node.",
			"ImagePrePullRolledBack":             "An ImagePrePullJob was undone on the node.",
			"ImagePrePullStarted":                "The node pulls the images of an ImagePrePullJob.",
			"ImagePrePullSuccessful":             "The node has the images of an ImagePrePullJob.",
			"ImagePrePullWaitingForConfirmation": "An ImagePrePullJob waits for somebody at the node: edgectl confirm.",
			"NodeUpgradeFailed":                  "A NodeUpgradeJob failed; the node is as it was before.",
			"NodeUpgradeRolledBack":              "The new edgecore did not prove itself, and the one before runs again.",
			"NodeUpgradeStarted":                 "The node replaces its edgecore.",
			"NodeUpgradeSuccessful":              "The new edgecore runs and is kept.",
			"NodeUpgradeWaitingForConfirmation":  "A NodeUpgradeJob waits for somebody at the node: edgectl confirm.",
		},
		"Pod": {
			"AlreadyMountedVolume":                 "A volume has another group than the pod's fsGroup.",
			"AppArmor":                             "The pod was rejected: its AppArmor profile cannot be used here.",
			"BackOff":                              "A container, or a pull of its image, waits before the next try.",
			"CertificateNotRenewed":                "A certificate in one of the pod's volumes could not be renewed.",
			"Created":                              "A container was made.",
			"DNSConfigForming":                     "The pod's DNS settings exceed a limit, and some are left out.",
			"ErrImageNeverPull":                    "The image is not there, and imagePullPolicy is Never.",
			"Evicted":                              "The pod was evicted, or rejected since the node runs short of something.",
			"Failed":                               "A container could not be made or started, or its image not be pulled.",
			"FailedAttachVolume":                   "A volume is not attached to the node.",
			"FailedCreatePodContainer":             "The cgroup of the pod could not be limited.",
			"FailedCreatePodSandBox":               "The pod's sandbox could not be made.",
			"FailedKillPod":                        "The pod could not be stopped.",
			"FailedMount":                          "A volume could not be mounted.",
			"FailedPostStartHook":                  "The postStart hook of a container failed.",
			"FailedPrepareDynamicResources":        "The pod's ResourceClaims could not be prepared.",
			"FailedPreStopHook":                    "The preStop hook of a container failed.",
			"FailedToRetrieveImagePullSecret":      "A pull secret is not there; the pull was tried without it.",
			"InspectFailed":                        "The runtime did not say whether it has the image.",
			"InvalidHoldTimeout":                   "The annotation that limits how long the pod is held is no duration.",
			"Killing":                              "A container is stopped.",
			"LifecycleHTTPFallback":                "A hook with scheme HTTPS was answered in plain HTTP.",
			"MissingClusterDNS":                    "The node has no cluster DNS; the pod uses the node's.",
			"NetworkNotReady":                      "The runtime says that its network is not ready.",
			"NodeAffinity":                         "The pod was rejected: the node does not match its affinity.",
			"NodePorts":                            "The pod was rejected: another pod has its host port.",
			"NoUsableNameServer":                   "The node's resolver file has only loopback servers.",
			"OutOf*":                               "The pod was rejected: the node has not enough of the resource that follows, such as OutOfcpu or OutOfpods.",
			"PodFeatureUnsupported":                "The pod was rejected: it needs a feature that this node does not have.",
			"PodLevelResourcesNotSupported":        "The pod was rejected: this node does not support resources of whole pods.",
			"PodOSNotSupported":                    "The pod was rejected: it is for another operating system.",
			"PodOSSelectorNodeLabelDoesNotMatch":   "The pod was rejected: its selector asks for another operating system.",
			"Preempting":                           "The pod gave way to a critical pod.",
			"ProbeWarning":                         "A probe answered with a redirect to another host, or another warning.",
			"Pulled":                               "The image is there.",
			"Pulling":                              "The image is being pulled.",
			"RegistryOutOfReach":                   "The image cannot be checked, since the registry is out of reach; the one that is there is used.",
			"ResizeCompleted":                      "The pod has its new resources.",
			"ResizeDeferred":                       "The pod's new resources are not free now.",
			"ResizeError":                          "The pod's new resources could not be set.",
			"ResizeInfeasible":                     "The node can never give the pod its new resources.",
			"ResizeStarted":                        "The pod gets its new resources.",
			"SandboxChanged":                       "The pod's sandbox ended, and it gets another.",
			"SMTAlignmentError":                    "The pod was rejected: whole cores cannot be given to it.",
			"Started":                              "A container was started; of a job: it has begun.",
			"SupplementalGroupsPolicyNotSupported": "The pod was rejected: the runtime does not support its supplementalGroupsPolicy.",
			"SysctlForbidden":                      "The pod was rejected: a sysctl is not allowed here.",
			"TaintToleration":                      "The pod was rejected: it does not tolerate a NoExecute taint.",
			"TokenExpired":                         "The pod's tokens ran out while the cloud was out of reach.",
			"TokenRenewed":                         "The pod's tokens are fresh again.",
			"TopologyAffinityError":                "The pod was rejected: its CPUs, memory and devices cannot be near each other.",
			"UnexpectedAdmissionError":             "The pod was rejected, or got no devices, for a fault of the node.",
			"Unhealthy":                            "A probe failed.",
			"UpgradeHeld":                          "The pod waits for its release: edgectl unhold.",
			"UpgradeReleased":                      "The pod was released and starts.",
			"VolumePermissionChangeInProgress":     "Setting the owner of a large volume takes long.",
		},
		"Device": {
			"ConditionFalse":    "A condition that the node sets became false.",
			"DesiredNotApplied": "The device does not have a desired value that was written to it.",
			"DesiredRefused":    "The node refuses a desired value.",
			"ModelMissing":      "There is no DeviceModel of the name in the Device.",
			"Moved":             "The device is at another node now.",
			"Offline":           "The device is no longer online.",
			"Online":            "The device is online.",
			"ValuesNotStored":   "Reported values could not be stored.",
		},
		"Fleet job": {
			"Completed":   "The job is done.",
			"NextBatch":   "The next batch begins.",
			"NodesFailed": "Nodes failed; the message names some.",
			"Paused":      "The job was paused, by somebody or by a rule of its rollout.",
		},
	} {
		for reason, text := range texts {
			all[reason] = Meaning{object, text}
		}
	}
	return all
}
