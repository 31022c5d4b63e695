package edged

// The reasons of containers that do not start, as Kubernetes names them.
const (
	reasonImagePull    = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonInvalidImage = "InvalidImageName"
	reasonInspect      = "ImageInspectError"
	reasonConfig       = "CreateContainerConfigError"
	reasonCreate       = "CreateContainerError"
	reasonRun          = "RunContainerError"
	reasonPostStart    = "PostStartHookError"
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	reasonCrashLoop    = "CrashLoopBackOff"
	reasonSandboxLost  = "SandboxLost" // ours, never shown: the sandbox is replaced and the container tried again
)
