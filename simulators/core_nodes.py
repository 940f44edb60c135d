"""A reduced namespace 0: what a client of a small controller meets, instead of the 6,000 nodes of the full one.

Building the full one takes 1.5 s a server, this one 10 ms.  Numbers and names are those of OPC 10000-5 and -6, one row
a node: number, name, number of the parent, then what its class needs.
"""

from __future__ import annotations

from typing import Final

from asyncua import ua
from asyncua.server.internal_server import InternalServer

from simulators.ua_edge import HAS_TYPE_DEFINITION, node_id

_ORGANIZES, _SUBTYPE, _PROPERTY, _COMPONENT = 35, 45, 46, 47
_FOLDER, _VARIABLE, _PROPERTY_TYPE = 61, 63, 68

FOLDERS: Final = (
    (85, "Objects", 84),
    (86, "Types", 84),
    (87, "Views", 84),
    (88, "ObjectTypes", 86),
    (89, "VariableTypes", 86),
    (90, "DataTypes", 86),
    (91, "ReferenceTypes", 86),
)
REFERENCE_TYPES: Final = (
    (31, "References", 91, ""),
    (32, "NonHierarchicalReferences", 31, ""),
    (33, "HierarchicalReferences", 31, "InverseHierarchicalReferences"),
    (34, "HasChild", 33, "ChildOf"),
    (35, "Organizes", 33, "OrganizedBy"),
    (36, "HasEventSource", 33, "EventSourceOf"),
    (37, "HasModellingRule", 32, "ModellingRuleOf"),
    (38, "HasEncoding", 32, "EncodingOf"),
    (39, "HasDescription", 32, "DescriptionOf"),
    (40, "HasTypeDefinition", 32, "TypeDefinitionOf"),
    (41, "GeneratesEvent", 32, "GeneratedBy"),
    (44, "Aggregates", 34, "AggregatedBy"),
    (45, "HasSubtype", 34, "SubtypeOf"),
    (46, "HasProperty", 44, "PropertyOf"),
    (47, "HasComponent", 44, "ComponentOf"),
    (48, "HasNotifier", 36, "NotifierOf"),
    (49, "HasOrderedComponent", 47, "OrderedComponentOf"),
    (51, "FromState", 32, "ToTransition"),
    (52, "ToState", 32, "FromTransition"),
    (53, "HasCause", 32, "MayBeCausedBy"),
    (54, "HasEffect", 32, "MayBeEffectedBy"),
    (117, "HasSubStateMachine", 32, "SubStateMachineOf"),
)
OBJECT_TYPES: Final = (
    (58, "BaseObjectType", 88),
    (61, "FolderType", 58),
    (2004, "ServerType", 58),
    (2013, "ServerCapabilitiesType", 58),
    (11564, "OperationLimitsType", 61),
    (2299, "StateMachineType", 58),
    (2771, "FiniteStateMachineType", 2299),
    (2307, "StateType", 58),
    (2309, "InitialStateType", 2307),
    (2310, "TransitionType", 58),
)
VARIABLE_TYPES: Final = (
    (62, "BaseVariableType", 89, 24),
    (63, "BaseDataVariableType", 62, 24),
    (68, "PropertyType", 62, 24),
    (2365, "DataItemType", 63, 24),
    (2368, "AnalogItemType", 2365, 26),
    (2755, "StateVariableType", 63, 21),
    (2760, "FiniteStateVariableType", 2755, 21),
    (2138, "ServerStatusType", 63, 862),
    (3051, "BuildInfoType", 63, 338),
)
DATA_TYPES: Final = (
    (24, "BaseDataType", 90),
    (26, "Number", 24),
    (27, "Integer", 26),
    (28, "UInteger", 26),
    (29, "Enumeration", 24),
    (22, "Structure", 24),
    (1, "Boolean", 24),
    (2, "SByte", 27),
    (3, "Byte", 28),
    (4, "Int16", 27),
    (5, "UInt16", 28),
    (6, "Int32", 27),
    (7, "UInt32", 28),
    (8, "Int64", 27),
    (9, "UInt64", 28),
    (10, "Float", 26),
    (11, "Double", 26),
    (12, "String", 24),
    (13, "DateTime", 24),
    (14, "Guid", 24),
    (15, "ByteString", 24),
    (16, "XmlElement", 24),
    (17, "NodeId", 24),
    (18, "ExpandedNodeId", 24),
    (19, "StatusCode", 24),
    (20, "QualifiedName", 24),
    (21, "LocalizedText", 24),
    (23, "DataValue", 24),
    (25, "DiagnosticInfo", 24),
    (290, "Duration", 11),
    (294, "UtcTime", 13),
    (296, "Argument", 22),
    (338, "BuildInfo", 22),
    (852, "ServerState", 29),
    (862, "ServerStatusDataType", 22),
)
OBJECTS: Final = ((2253, "Server", 85, 2004), (2268, "ServerCapabilities", 2253, 2013))
LIMITS_OBJECT: Final = (11704, "OperationLimits", 2268, 11564)
VARIABLES: Final = (
    (2254, "ServerArray", 2253, 68, 12, 1),
    (2255, "NamespaceArray", 2253, 68, 12, 1),
    (2256, "ServerStatus", 2253, 2138, 862, -1),
    (2257, "StartTime", 2256, 63, 294, -1),
    (2258, "CurrentTime", 2256, 63, 294, -1),
    (2259, "State", 2256, 63, 852, -1),
    (2260, "BuildInfo", 2256, 3051, 338, -1),
    (2261, "ProductName", 2260, 63, 12, -1),
    (2262, "ProductUri", 2260, 63, 12, -1),
    (2263, "ManufacturerName", 2260, 63, 12, -1),
    (2264, "SoftwareVersion", 2260, 63, 12, -1),
    (2265, "BuildNumber", 2260, 63, 12, -1),
    (2266, "BuildDate", 2260, 63, 294, -1),
    (2992, "SecondsTillShutdown", 2256, 63, 7, -1),
    (2993, "ShutdownReason", 2256, 63, 21, -1),
    (2267, "ServiceLevel", 2253, 68, 3, -1),
    (2994, "Auditing", 2253, 68, 1, -1),
    (11705, "MaxNodesPerRead", 11704, 68, 7, -1),
    (11707, "MaxNodesPerWrite", 11704, 68, 7, -1),
    (11709, "MaxNodesPerMethodCall", 11704, 68, 7, -1),
    (11710, "MaxNodesPerBrowse", 11704, 68, 7, -1),
    (11711, "MaxNodesPerRegisterNodes", 11704, 68, 7, -1),
    (11712, "MaxNodesPerTranslateBrowsePathsToNodeIds", 11704, 68, 7, -1),
    (11713, "MaxNodesPerNodeManagement", 11704, 68, 7, -1),
    (11714, "MaxMonitoredItemsPerCall", 11704, 68, 7, -1),
)


def _item(number: int, name: str, parent: int | None, reference: int, kind: ua.NodeClass) -> ua.AddNodesItem:
    item = ua.AddNodesItem()
    item.RequestedNewNodeId = node_id(number)
    item.BrowseName = ua.QualifiedName(name, 0)
    item.NodeClass = kind
    if parent is not None:
        item.ParentNodeId = node_id(parent)
        item.ReferenceTypeId = node_id(reference)
    return item


def _object(number: int, name: str, parent: int | None, kind: int, reference: int) -> ua.AddNodesItem:
    item = _item(number, name, parent, reference, ua.NodeClass.Object)
    item.TypeDefinition = node_id(kind)
    item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name), EventNotifier=0)
    return item


def _reference_type(number: int, name: str, parent: int, inverse: str) -> ua.AddNodesItem:
    link = _ORGANIZES if parent == 91 else _SUBTYPE
    item = _item(number, name, parent, link, ua.NodeClass.ReferenceType)
    attributes = ua.ReferenceTypeAttributes(DisplayName=ua.LocalizedText(name), IsAbstract=False, Symmetric=not inverse)
    attributes.InverseName = ua.LocalizedText(inverse)
    item.NodeAttributes = attributes
    return item


def _object_type(number: int, name: str, parent: int) -> ua.AddNodesItem:
    item = _item(number, name, parent, _ORGANIZES if parent == 88 else _SUBTYPE, ua.NodeClass.ObjectType)
    item.NodeAttributes = ua.ObjectTypeAttributes(DisplayName=ua.LocalizedText(name), IsAbstract=False)
    return item


def _variable_type(number: int, name: str, parent: int, data_type: int) -> ua.AddNodesItem:
    item = _item(number, name, parent, _ORGANIZES if parent == 89 else _SUBTYPE, ua.NodeClass.VariableType)
    attributes = ua.VariableTypeAttributes(DisplayName=ua.LocalizedText(name), IsAbstract=False, ValueRank=-2)
    attributes.DataType = node_id(data_type)
    item.NodeAttributes = attributes
    return item


def _data_type(number: int, name: str, parent: int) -> ua.AddNodesItem:
    item = _item(number, name, parent, _ORGANIZES if parent == 90 else _SUBTYPE, ua.NodeClass.DataType)
    item.NodeAttributes = ua.DataTypeAttributes(DisplayName=ua.LocalizedText(name), IsAbstract=False)
    return item


def _variable(row: tuple[int, str, int, int, int, int]) -> ua.AddNodesItem:
    number, name, parent, kind, data_type, rank = row
    link = _PROPERTY if kind == _PROPERTY_TYPE else _COMPONENT
    item = _item(number, name, parent, link, ua.NodeClass.Variable)
    item.TypeDefinition = node_id(kind)
    attributes = ua.VariableAttributes(DisplayName=ua.LocalizedText(name), ValueRank=rank, AccessLevel=1)
    attributes.DataType, attributes.UserAccessLevel, attributes.Historizing = node_id(data_type), 1, False
    attributes.Value = ua.Variant([], ua.VariantType.String) if rank == 1 else ua.Variant(None, ua.VariantType.Null)
    item.NodeAttributes = attributes
    return item


def items() -> list[ua.AddNodesItem]:
    """All rows as the server takes them, parents first; type definitions may come later than their users."""
    root = _object(84, "Root", None, _FOLDER, _ORGANIZES)
    return [
        root,
        *(_object(number, name, parent, _FOLDER, _ORGANIZES) for number, name, parent in FOLDERS),
        *(_reference_type(*row) for row in REFERENCE_TYPES),
        *(_object_type(*row) for row in OBJECT_TYPES),
        *(_data_type(*row) for row in DATA_TYPES),
        *(_variable_type(*row) for row in VARIABLE_TYPES),
        *(_object(*row, _COMPONENT) for row in OBJECTS),
        _object(*LIMITS_OBJECT, _COMPONENT),
        *(_variable(row) for row in VARIABLES),
    ]


def fill(server: InternalServer) -> None:
    """Put the reduced namespace 0 into an empty address space.  RuntimeError if the server refuses a row."""
    rows = items()
    # folders use FolderType before it exists: add them without it, then give them their type
    types = {row.RequestedNewNodeId: row.TypeDefinition for row in rows if row.TypeDefinition == node_id(_FOLDER)}
    for row in rows:
        if row.RequestedNewNodeId in types:
            row.TypeDefinition = ua.NodeId()
    refused = list(server.node_mgt_service.try_add_nodes(rows, check=False))
    if refused:
        raise RuntimeError(f"namespace 0: {refused[0].BrowseName.Name} was refused")
    server.node_mgt_service.add_references([_typed(node, kind) for node, kind in types.items()])


def _typed(node: ua.NodeId, kind: ua.NodeId) -> ua.AddReferencesItem:
    item = ua.AddReferencesItem()
    item.SourceNodeId, item.TargetNodeId, item.IsForward = node, kind, True
    item.ReferenceTypeId = node_id(HAS_TYPE_DEFINITION)
    item.TargetNodeClass = ua.NodeClass.ObjectType
    return item
