package v1beta1

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The full names of the services.
const (
	DeviceManagerService = "v1beta1.DeviceManagerService"
	DeviceMapperService  = "v1beta1.DeviceMapperService"
)

// DeviceManager is what edgecore serves. An error is one of google.golang.org/grpc/status; any
// other becomes code Unknown. Several calls come at once.
type DeviceManager interface {
	MapperRegister(ctx context.Context, r *MapperRegisterRequest) (*MapperRegisterResponse, error)
	ReportDeviceStatus(ctx context.Context, r *ReportDeviceStatusRequest) (*Empty, error)
	ReportDeviceStates(ctx context.Context, r *ReportDeviceStatesRequest) (*Empty, error)
}

// DeviceMapper is what a mapper serves; the errors are as with DeviceManager.
type DeviceMapper interface {
	RegisterDevice(ctx context.Context, r *RegisterDeviceRequest) (*RegisterDeviceResponse, error)
	RemoveDevice(ctx context.Context, r *RemoveDeviceRequest) (*Empty, error)
	UpdateDevice(ctx context.Context, r *UpdateDeviceRequest) (*Empty, error)
	CreateDeviceModel(ctx context.Context, r *CreateDeviceModelRequest) (*CreateDeviceModelResponse, error)
	RemoveDeviceModel(ctx context.Context, r *RemoveDeviceModelRequest) (*Empty, error)
	UpdateDeviceModel(ctx context.Context, r *UpdateDeviceModelRequest) (*Empty, error)
	GetDevice(ctx context.Context, r *GetDeviceRequest) (*GetDeviceResponse, error)
}

// RegisterDeviceManager serves m. The server's codec must be a Codec (ForceServerCodecV2).
func RegisterDeviceManager(s grpc.ServiceRegistrar, m DeviceManager) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: DeviceManagerService, HandlerType: (*DeviceManager)(nil), Metadata: "dmi.proto",
		Methods: []grpc.MethodDesc{
			method("MapperRegister", DeviceManager.MapperRegister),
			method("ReportDeviceStatus", DeviceManager.ReportDeviceStatus),
			method("ReportDeviceStates", DeviceManager.ReportDeviceStates),
		},
	}, m)
}

// RegisterDeviceMapper serves m. The server's codec must be a Codec (ForceServerCodecV2).
func RegisterDeviceMapper(s grpc.ServiceRegistrar, m DeviceMapper) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: DeviceMapperService, HandlerType: (*DeviceMapper)(nil), Metadata: "dmi.proto",
		Methods: []grpc.MethodDesc{
			method("RegisterDevice", DeviceMapper.RegisterDevice),
			method("RemoveDevice", DeviceMapper.RemoveDevice),
			method("UpdateDevice", DeviceMapper.UpdateDevice),
			method("CreateDeviceModel", DeviceMapper.CreateDeviceModel),
			method("RemoveDeviceModel", DeviceMapper.RemoveDeviceModel),
			method("UpdateDeviceModel", DeviceMapper.UpdateDeviceModel),
			method("GetDevice", DeviceMapper.GetDevice),
		},
	}, m)
}

// method is one method of a service. A panic of the decoder or of call is an error of that
// call alone, of code Internal.
func method[S, Q, A any](name string, call func(S, context.Context, *Q) (*A, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (answer any, err error) {
		defer func() {
			if p := recover(); p != nil {
				answer, err = nil, status.Error(codes.Internal, fmt.Sprintf("%s: panic: %v", name, p))
			}
		}()
		request := new(Q)
		if err := decode(request); err != nil {
			return nil, err
		}
		handle := func(ctx context.Context, request any) (any, error) {
			return result(call(server.(S), ctx, request.(*Q)))
		}
		if intercept == nil {
			return handle(ctx, request)
		}
		return intercept(ctx, request, &grpc.UnaryServerInfo{Server: server, FullMethod: name}, handle)
	}}
}

// result returns no typed nil.
func result[A any](answer *A, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if answer == nil {
		answer = new(A)
	}
	return answer, nil
}

// Manager is a client of DeviceManagerService.
type Manager struct{ conn grpc.ClientConnInterface }

var _ DeviceManager = Manager{}

// NewManager makes a client on a connection whose codec is a Codec (ForceCodecV2).
func NewManager(conn grpc.ClientConnInterface) Manager { return Manager{conn} }

// MapperRegister registers a mapper.
func (c Manager) MapperRegister(ctx context.Context, r *MapperRegisterRequest) (*MapperRegisterResponse, error) {
	return invoke[MapperRegisterResponse](ctx, c.conn, DeviceManagerService, "MapperRegister", r)
}

// ReportDeviceStatus reports values of a device.
func (c Manager) ReportDeviceStatus(ctx context.Context, r *ReportDeviceStatusRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceManagerService, "ReportDeviceStatus", r)
}

// ReportDeviceStates reports the state of a device.
func (c Manager) ReportDeviceStates(ctx context.Context, r *ReportDeviceStatesRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceManagerService, "ReportDeviceStates", r)
}

// Mapper is a client of DeviceMapperService.
type Mapper struct{ conn grpc.ClientConnInterface }

var _ DeviceMapper = Mapper{}

// NewMapper makes a client on a connection whose codec is a Codec (ForceCodecV2).
func NewMapper(conn grpc.ClientConnInterface) Mapper { return Mapper{conn} }

// RegisterDevice gives a device to the mapper.
func (c Mapper) RegisterDevice(ctx context.Context, r *RegisterDeviceRequest) (*RegisterDeviceResponse, error) {
	return invoke[RegisterDeviceResponse](ctx, c.conn, DeviceMapperService, "RegisterDevice", r)
}

// RemoveDevice takes a device from the mapper.
func (c Mapper) RemoveDevice(ctx context.Context, r *RemoveDeviceRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceMapperService, "RemoveDevice", r)
}

// UpdateDevice gives the mapper the new form of a device.
func (c Mapper) UpdateDevice(ctx context.Context, r *UpdateDeviceRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceMapperService, "UpdateDevice", r)
}

// CreateDeviceModel gives a model to the mapper.
func (c Mapper) CreateDeviceModel(ctx context.Context, r *CreateDeviceModelRequest) (*CreateDeviceModelResponse, error) {
	return invoke[CreateDeviceModelResponse](ctx, c.conn, DeviceMapperService, "CreateDeviceModel", r)
}

// RemoveDeviceModel takes a model from the mapper.
func (c Mapper) RemoveDeviceModel(ctx context.Context, r *RemoveDeviceModelRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceMapperService, "RemoveDeviceModel", r)
}

// UpdateDeviceModel gives the mapper the new form of a model.
func (c Mapper) UpdateDeviceModel(ctx context.Context, r *UpdateDeviceModelRequest) (*Empty, error) {
	return invoke[Empty](ctx, c.conn, DeviceMapperService, "UpdateDeviceModel", r)
}

// GetDevice asks the mapper for a device.
func (c Mapper) GetDevice(ctx context.Context, r *GetDeviceRequest) (*GetDeviceResponse, error) {
	return invoke[GetDeviceResponse](ctx, c.conn, DeviceMapperService, "GetDevice", r)
}

func invoke[A any](ctx context.Context, conn grpc.ClientConnInterface, service, name string, r any) (*A, error) {
	answer := new(A)
	if err := conn.Invoke(ctx, "/"+service+"/"+name, r, answer); err != nil {
		return nil, err
	}
	return answer, nil
}
