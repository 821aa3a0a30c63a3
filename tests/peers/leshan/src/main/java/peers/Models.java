package peers;

import java.util.ArrayList;
import java.util.List;

import org.eclipse.leshan.core.model.ObjectLoader;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.model.ResourceModel.Operations;
import org.eclipse.leshan.core.model.ResourceModel.Type;

/** The objects both programs know: Leshan bundles the core ones, two more are described here. */
final class Models {

    static final int TEMPERATURE = 3303;
    static final int TEST_OBJECT = 3442;

    private Models() {
    }

    static List<ObjectModel> all() {
        List<ObjectModel> models = new ArrayList<>(ObjectLoader.loadDefault());
        models.add(temperature());
        models.add(testObject());
        return models;
    }

    private static ObjectModel temperature() {
        return new ObjectModel(TEMPERATURE, "Temperature", null, "1.1", true, false,
                resource(5700, "Sensor Value", Operations.R, false, true, Type.FLOAT),
                resource(5601, "Min Measured Value", Operations.R, false, false, Type.FLOAT),
                resource(5602, "Max Measured Value", Operations.R, false, false, Type.FLOAT),
                resource(5605, "Reset Min and Max Measured Values", Operations.E, false, false, Type.NONE),
                resource(5701, "Sensor Units", Operations.R, false, false, Type.STRING),
                resource(5750, "Application Type", Operations.RW, false, false, Type.STRING));
    }

    private static ObjectModel testObject() {
        return new ObjectModel(TEST_OBJECT, "LwM2M v1.1 Test Object", null, "1.0", true, false,
                resource(0, "Reset values", Operations.E, false, false, Type.NONE),
                resource(3, "Exec With Arguments", Operations.E, false, false, Type.NONE),
                resource(110, "String Value", Operations.RW, false, false, Type.STRING),
                resource(120, "Integer Value", Operations.RW, false, false, Type.INTEGER),
                resource(125, "Unsigned Integer Value", Operations.RW, false, false, Type.UNSIGNED_INTEGER),
                resource(130, "Float Value", Operations.RW, false, false, Type.FLOAT),
                resource(140, "Boolean Value", Operations.RW, false, false, Type.BOOLEAN),
                resource(150, "Opaque Value", Operations.RW, false, false, Type.OPAQUE),
                resource(160, "Time Value", Operations.RW, false, false, Type.TIME),
                resource(170, "ObjLink Value", Operations.RW, false, false, Type.OBJLNK),
                resource(1110, "Multiple String Value", Operations.RW, true, false, Type.STRING),
                resource(1120, "Multiple Integer Value", Operations.RW, true, false, Type.INTEGER));
    }

    private static ResourceModel resource(int id, String name, Operations operations, boolean multiple,
            boolean mandatory, Type type) {
        return new ResourceModel(id, name, operations, multiple, mandatory, type, null, null, null);
    }
}
