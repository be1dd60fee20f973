PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO studies VALUES(1,'small');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO version_info VALUES(1,12,'5.0.0');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO study_directions VALUES(1,'MAXIMIZE',1,0);
INSERT INTO study_directions VALUES(2,'MINIMIZE',1,1);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO study_user_attributes VALUES(1,1,'effv2_tune:reference','{"quality": 0.0, "train_seconds": 604800.0}');
INSERT INTO study_user_attributes VALUES(2,1,'effv2_tune:plan','"{\"name\":\"small\",\"recipe\":{\"epochs\":4,\"schedule\":\"constant\"},\"search_space\":{\"weight_decay\":{\"type\":\"float\",\"low\":1e-6,\"high\":0.1,\"scale\":\"log\"},\"resolution\":{\"type\":\"choice\",\"values\":[32,64]}},\"trials\":4,\"search\":{\"halving\":{\"enabled\":false}}}"');
INSERT INTO study_user_attributes VALUES(3,1,'effv2_tune:first','[]');
INSERT INTO study_user_attributes VALUES(4,1,'effv2_tune:base','"/somewhere/else"');
INSERT INTO study_user_attributes VALUES(5,1,'effv2_tune:generation','1');
INSERT INTO study_user_attributes VALUES(6,1,'effv2_tune:storage_size','64');
INSERT INTO study_user_attributes VALUES(7,1,'effv2_tune:ended_by','{"kind": "trials", "reason": "All 4 trials of the study are done."}');
INSERT INTO study_user_attributes VALUES(8,1,'effv2_tune:device_kind','"scripted"');
INSERT INTO study_user_attributes VALUES(9,1,'effv2_tune:threads','1');
INSERT INTO study_user_attributes VALUES(10,1,'effv2_tune:data','{"classes": 10, "image_shape": [8, 8, 1], "train": 1000, "validation": 100, "test": 100, "digest": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}');
INSERT INTO study_user_attributes VALUES(11,1,'effv2_tune:device_count','1');
INSERT INTO study_user_attributes VALUES(12,1,'effv2_tune:backend','"tensorflow"');
INSERT INTO study_user_attributes VALUES(13,1,'effv2_tune:seconds:18eb210e6bf0ebf2','0.522');
INSERT INTO study_user_attributes VALUES(14,1,'effv2_tune:device_seconds:18eb210e6bf0ebf2','0.262');
INSERT INTO study_user_attributes VALUES(15,1,'effv2_tune:bucket:ad79a5a7e55485c8','{"label": "b0@64 batch 128", "step_seconds": 0.064, "extraction_seconds": 0.0}');
INSERT INTO study_user_attributes VALUES(16,1,'effv2_tune:bucket:5c03257a50a2d20c','{"label": "b0@32 batch 128", "step_seconds": 0.032, "extraction_seconds": 0.0}');
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO trials VALUES(1,0,1,'COMPLETE','2026-11-25 00:07:02.570406','2026-11-25 00:07:02.635812');
INSERT INTO trials VALUES(2,1,1,'COMPLETE','2026-11-25 00:07:02.661768','2026-11-25 00:07:02.696663');
INSERT INTO trials VALUES(3,2,1,'COMPLETE','2026-11-25 00:07:02.709986','2026-11-25 00:07:02.741741');
INSERT INTO trials VALUES(4,3,1,'COMPLETE','2026-11-25 00:07:02.758286','2026-11-25 00:07:02.796689');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO trial_user_attributes VALUES(1,1,'effv2_tune:record','{"sha256": "e79a22fe11f50f213783bbacdec77f1210aab05f6cea72d675a11143a9a5f506", "trial": "{\"number\":0,\"state\":\"complete\",\"config\":{\"weight_decay\":0.0001757746859548628,\"resolution\":64},\"recipe\":{\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"backbone\":\"scratch\",\"weights\":\"none\",\"finetune_from\":0,\"features\":\"auto\",\"epochs\":4,\"batch_size\":128,\"optimizer\":\"adabelief\",\"weight_decay\":0.0001757746859548628,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-14,\"rectify\":true,\"sma_threshold\":5.0,\"amsgrad\":false,\"momentum\":0.9,\"nesterov\":true,\"clip_norm\":null,\"ema\":false,\"ema_momentum\":0.999,\"schedule\":\"constant\",\"initial_learning_rate\":0.0001,\"maximal_learning_rate\":0.01,\"step_size_epochs\":2.0,\"gamma\":1.0,\"warmup_epochs\":0.0,\"dropout\":0.2,\"stochastic_depth\":0.2,\"label_smoothing\":0.0,\"flip\":false,\"crop_padding\":0,\"random_crop\":1.0,\"random_crop_aspect\":1.3333333333333333,\"brightness\":0.0,\"contrast\":0.0,\"saturation\":0.0,\"hue\":0.0,\"rand_augment\":0.0,\"rand_augment_layers\":2,\"cutout\":0.0,\"mixup\":0.0,\"cutmix\":0.0,\"class_weight\":\"none\",\"select\":\"last\",\"precision\":\"auto\",\"seed\":0,\"data\":{\"name\":\"digits\",\"path\":null,\"train\":null,\"validation\":null,\"test\":null,\"stratify\":true,\"split_seed\":42,\"fit\":\"crop\",\"storage_size\":null,\"columns\":null},\"quality\":\"accuracy\"},\"bucket\":{\"backend\":\"tensorflow\",\"device_kind\":\"scripted\",\"device_count\":1,\"precision\":\"float32\",\"steps_per_dispatch\":1,\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"batch\":128,\"classes\":10,\"image_shape\":[8,8,1],\"trainable\":\"scratch\",\"weights\":\"none\",\"optimizer\":[\"adabelief\",\"rectify\"],\"schedule\":\"constant\",\"augmentation\":[],\"class_weighted\":false},\"measurement\":{\"quality\":0.5007030987438195,\"train_seconds\":1.792},\"scores\":{\"accuracy\":0.5007030987438195,\"balanced_accuracy\":0.5007030987438195,\"macro_f1\":0.5007030987438195,\"top5\":1.0,\"loss\":1.0},\"selected_epoch\":4,\"rungs\":[],\"curve\":[{\"epoch\":1,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.12517577468595487,\"balanced_accuracy\":0.12517577468595487,\"macro_f1\":0.12517577468595487,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":2,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.25035154937190973,\"balanced_accuracy\":0.25035154937190973,\"macro_f1\":0.25035154937190973,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":3,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.3755273240578646,\"balanced_accuracy\":0.3755273240578646,\"macro_f1\":0.3755273240578646,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":4,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.5007030987438195,\"balanced_accuracy\":0.5007030987438195,\"macro_f1\":0.5007030987438195,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01}],\"times\":{\"build\":0.0,\"compile\":0.0,\"extract\":0.0,\"measure\":0.0,\"train\":0.0,\"evaluate\":0.0,\"checkpoint\":0.0,\"wall\":0.025312574000054155,\"step_median\":0.064,\"step_bucket\":0.064},\"environment\":{\"device_kind\":\"scripted\",\"device_count\":1,\"backend\":\"tensorflow\",\"precision\":\"float32\",\"threads\":1,\"host\":\"here\",\"versions\":{\"python\":\"3\"},\"hardware\":\"cpu\"},\"attempts\":1,\"deaths\":0,\"death_step\":0,\"reason\":\"\",\"started\":\"2026-11-25T00:07:02.594285Z\",\"ended\":\"2026-11-25T00:07:02.625081Z\",\"notes\":[]}"}');
INSERT INTO trial_user_attributes VALUES(2,2,'effv2_tune:record','{"sha256": "51a15e9b3a56439eda4bfe34fba1e4c778861034d9d0db7f7299401cac6d4dbe", "trial": "{\"number\":1,\"state\":\"complete\",\"config\":{\"weight_decay\":0.0001803017707145247,\"resolution\":64},\"recipe\":{\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"backbone\":\"scratch\",\"weights\":\"none\",\"finetune_from\":0,\"features\":\"auto\",\"epochs\":4,\"batch_size\":128,\"optimizer\":\"adabelief\",\"weight_decay\":0.0001803017707145247,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-14,\"rectify\":true,\"sma_threshold\":5.0,\"amsgrad\":false,\"momentum\":0.9,\"nesterov\":true,\"clip_norm\":null,\"ema\":false,\"ema_momentum\":0.999,\"schedule\":\"constant\",\"initial_learning_rate\":0.0001,\"maximal_learning_rate\":0.01,\"step_size_epochs\":2.0,\"gamma\":1.0,\"warmup_epochs\":0.0,\"dropout\":0.2,\"stochastic_depth\":0.2,\"label_smoothing\":0.0,\"flip\":false,\"crop_padding\":0,\"random_crop\":1.0,\"random_crop_aspect\":1.3333333333333333,\"brightness\":0.0,\"contrast\":0.0,\"saturation\":0.0,\"hue\":0.0,\"rand_augment\":0.0,\"rand_augment_layers\":2,\"cutout\":0.0,\"mixup\":0.0,\"cutmix\":0.0,\"class_weight\":\"none\",\"select\":\"last\",\"precision\":\"auto\",\"seed\":0,\"data\":{\"name\":\"digits\",\"path\":null,\"train\":null,\"validation\":null,\"test\":null,\"stratify\":true,\"split_seed\":42,\"fit\":\"crop\",\"storage_size\":null,\"columns\":null},\"quality\":\"accuracy\"},\"bucket\":{\"backend\":\"tensorflow\",\"device_kind\":\"scripted\",\"device_count\":1,\"precision\":\"float32\",\"steps_per_dispatch\":1,\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"batch\":128,\"classes\":10,\"image_shape\":[8,8,1],\"trainable\":\"scratch\",\"weights\":\"none\",\"optimizer\":[\"adabelief\",\"rectify\"],\"schedule\":\"constant\",\"augmentation\":[],\"class_weighted\":false},\"measurement\":{\"quality\":0.500721207082858,\"train_seconds\":1.792},\"scores\":{\"accuracy\":0.500721207082858,\"balanced_accuracy\":0.500721207082858,\"macro_f1\":0.500721207082858,\"top5\":1.0,\"loss\":1.0},\"selected_epoch\":4,\"rungs\":[],\"curve\":[{\"epoch\":1,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.1251803017707145,\"balanced_accuracy\":0.1251803017707145,\"macro_f1\":0.1251803017707145,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":2,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.250360603541429,\"balanced_accuracy\":0.250360603541429,\"macro_f1\":0.250360603541429,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":3,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.37554090531214357,\"balanced_accuracy\":0.37554090531214357,\"macro_f1\":0.37554090531214357,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":4,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.500721207082858,\"balanced_accuracy\":0.500721207082858,\"macro_f1\":0.500721207082858,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01}],\"times\":{\"build\":0.0,\"compile\":0.0,\"extract\":0.0,\"measure\":0.0,\"train\":0.0,\"evaluate\":0.0,\"checkpoint\":0.0,\"wall\":0.018069350000587292,\"step_median\":0.064,\"step_bucket\":0.064},\"environment\":{\"device_kind\":\"scripted\",\"device_count\":1,\"backend\":\"tensorflow\",\"precision\":\"float32\",\"threads\":1,\"host\":\"here\",\"versions\":{\"python\":\"3\"},\"hardware\":\"cpu\"},\"attempts\":1,\"deaths\":0,\"death_step\":0,\"reason\":\"\",\"started\":\"2026-11-25T00:07:02.672519Z\",\"ended\":\"2026-11-25T00:07:02.691733Z\",\"notes\":[]}"}');
INSERT INTO trial_user_attributes VALUES(3,3,'effv2_tune:record','{"sha256": "8636524fa3d96ecfec5440899e8bdd21620905f472cf8a1d3ed6321de47d57da", "trial": "{\"number\":2,\"state\":\"complete\",\"config\":{\"weight_decay\":0.0002054754949806062,\"resolution\":32},\"recipe\":{\"variant\":\"b0\",\"resolution\":32,\"resize\":\"bilinear\",\"backbone\":\"scratch\",\"weights\":\"none\",\"finetune_from\":0,\"features\":\"auto\",\"epochs\":4,\"batch_size\":128,\"optimizer\":\"adabelief\",\"weight_decay\":0.0002054754949806062,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-14,\"rectify\":true,\"sma_threshold\":5.0,\"amsgrad\":false,\"momentum\":0.9,\"nesterov\":true,\"clip_norm\":null,\"ema\":false,\"ema_momentum\":0.999,\"schedule\":\"constant\",\"initial_learning_rate\":0.0001,\"maximal_learning_rate\":0.01,\"step_size_epochs\":2.0,\"gamma\":1.0,\"warmup_epochs\":0.0,\"dropout\":0.2,\"stochastic_depth\":0.2,\"label_smoothing\":0.0,\"flip\":false,\"crop_padding\":0,\"random_crop\":1.0,\"random_crop_aspect\":1.3333333333333333,\"brightness\":0.0,\"contrast\":0.0,\"saturation\":0.0,\"hue\":0.0,\"rand_augment\":0.0,\"rand_augment_layers\":2,\"cutout\":0.0,\"mixup\":0.0,\"cutmix\":0.0,\"class_weight\":\"none\",\"select\":\"last\",\"precision\":\"auto\",\"seed\":0,\"data\":{\"name\":\"digits\",\"path\":null,\"train\":null,\"validation\":null,\"test\":null,\"stratify\":true,\"split_seed\":42,\"fit\":\"crop\",\"storage_size\":null,\"columns\":null},\"quality\":\"accuracy\"},\"bucket\":{\"backend\":\"tensorflow\",\"device_kind\":\"scripted\",\"device_count\":1,\"precision\":\"float32\",\"steps_per_dispatch\":1,\"variant\":\"b0\",\"resolution\":32,\"resize\":\"bilinear\",\"batch\":128,\"classes\":10,\"image_shape\":[8,8,1],\"trainable\":\"scratch\",\"weights\":\"none\",\"optimizer\":[\"adabelief\",\"rectify\"],\"schedule\":\"constant\",\"augmentation\":[],\"class_weighted\":false},\"measurement\":{\"quality\":0.5008219019799224,\"train_seconds\":0.896},\"scores\":{\"accuracy\":0.5008219019799224,\"balanced_accuracy\":0.5008219019799224,\"macro_f1\":0.5008219019799224,\"top5\":1.0,\"loss\":1.0},\"selected_epoch\":4,\"rungs\":[],\"curve\":[{\"epoch\":1,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.1252054754949806,\"balanced_accuracy\":0.1252054754949806,\"macro_f1\":0.1252054754949806,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":2,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.2504109509899612,\"balanced_accuracy\":0.2504109509899612,\"macro_f1\":0.2504109509899612,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":3,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.37561642648494176,\"balanced_accuracy\":0.37561642648494176,\"macro_f1\":0.37561642648494176,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":4,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.5008219019799224,\"balanced_accuracy\":0.5008219019799224,\"macro_f1\":0.5008219019799224,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01}],\"times\":{\"build\":0.0,\"compile\":0.0,\"extract\":0.0,\"measure\":0.0,\"train\":0.0,\"evaluate\":0.0,\"checkpoint\":0.0,\"wall\":0.017636584998399485,\"step_median\":0.032,\"step_bucket\":0.032},\"environment\":{\"device_kind\":\"scripted\",\"device_count\":1,\"backend\":\"tensorflow\",\"precision\":\"float32\",\"threads\":1,\"host\":\"here\",\"versions\":{\"python\":\"3\"},\"hardware\":\"cpu\"},\"attempts\":1,\"deaths\":0,\"death_step\":0,\"reason\":\"\",\"started\":\"2026-11-25T00:07:02.717451Z\",\"ended\":\"2026-11-25T00:07:02.735908Z\",\"notes\":[]}"}');
INSERT INTO trial_user_attributes VALUES(4,4,'effv2_tune:record','{"sha256": "584acbb7ec2e6637b4cb3e1be14cc8b682632232407a640f00d89a51b496c9db", "trial": "{\"number\":3,\"state\":\"complete\",\"config\":{\"weight_decay\":9.891844513835086e-6,\"resolution\":64},\"recipe\":{\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"backbone\":\"scratch\",\"weights\":\"none\",\"finetune_from\":0,\"features\":\"auto\",\"epochs\":4,\"batch_size\":128,\"optimizer\":\"adabelief\",\"weight_decay\":9.891844513835086e-6,\"beta_1\":0.9,\"beta_2\":0.999,\"epsilon\":1e-14,\"rectify\":true,\"sma_threshold\":5.0,\"amsgrad\":false,\"momentum\":0.9,\"nesterov\":true,\"clip_norm\":null,\"ema\":false,\"ema_momentum\":0.999,\"schedule\":\"constant\",\"initial_learning_rate\":0.0001,\"maximal_learning_rate\":0.01,\"step_size_epochs\":2.0,\"gamma\":1.0,\"warmup_epochs\":0.0,\"dropout\":0.2,\"stochastic_depth\":0.2,\"label_smoothing\":0.0,\"flip\":false,\"crop_padding\":0,\"random_crop\":1.0,\"random_crop_aspect\":1.3333333333333333,\"brightness\":0.0,\"contrast\":0.0,\"saturation\":0.0,\"hue\":0.0,\"rand_augment\":0.0,\"rand_augment_layers\":2,\"cutout\":0.0,\"mixup\":0.0,\"cutmix\":0.0,\"class_weight\":\"none\",\"select\":\"last\",\"precision\":\"auto\",\"seed\":0,\"data\":{\"name\":\"digits\",\"path\":null,\"train\":null,\"validation\":null,\"test\":null,\"stratify\":true,\"split_seed\":42,\"fit\":\"crop\",\"storage_size\":null,\"columns\":null},\"quality\":\"accuracy\"},\"bucket\":{\"backend\":\"tensorflow\",\"device_kind\":\"scripted\",\"device_count\":1,\"precision\":\"float32\",\"steps_per_dispatch\":1,\"variant\":\"b0\",\"resolution\":64,\"resize\":\"bilinear\",\"batch\":128,\"classes\":10,\"image_shape\":[8,8,1],\"trainable\":\"scratch\",\"weights\":\"none\",\"optimizer\":[\"adabelief\",\"rectify\"],\"schedule\":\"constant\",\"augmentation\":[],\"class_weighted\":false},\"measurement\":{\"quality\":0.5000395673780553,\"train_seconds\":1.792},\"scores\":{\"accuracy\":0.5000395673780553,\"balanced_accuracy\":0.5000395673780553,\"macro_f1\":0.5000395673780553,\"top5\":1.0,\"loss\":1.0},\"selected_epoch\":4,\"rungs\":[],\"curve\":[{\"epoch\":1,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.12500989184451383,\"balanced_accuracy\":0.12500989184451383,\"macro_f1\":0.12500989184451383,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":2,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.25001978368902766,\"balanced_accuracy\":0.25001978368902766,\"macro_f1\":0.25001978368902766,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":3,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.3750296755335415,\"balanced_accuracy\":0.3750296755335415,\"macro_f1\":0.3750296755335415,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01},{\"epoch\":4,\"learning_rate\":0.1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"validation\":{\"accuracy\":0.5000395673780553,\"balanced_accuracy\":0.5000395673780553,\"macro_f1\":0.5000395673780553,\"top5\":1.0,\"loss\":1.0},\"seconds\":0.01}],\"times\":{\"build\":0.0,\"compile\":0.0,\"extract\":0.0,\"measure\":0.0,\"train\":0.0,\"evaluate\":0.0,\"checkpoint\":0.0,\"wall\":0.014925220999430167,\"step_median\":0.064,\"step_bucket\":0.064},\"environment\":{\"device_kind\":\"scripted\",\"device_count\":1,\"backend\":\"tensorflow\",\"precision\":\"float32\",\"threads\":1,\"host\":\"here\",\"versions\":{\"python\":\"3\"},\"hardware\":\"cpu\"},\"attempts\":1,\"deaths\":0,\"death_step\":0,\"reason\":\"\",\"started\":\"2026-11-25T00:07:02.772724Z\",\"ended\":\"2026-11-25T00:07:02.788827Z\",\"notes\":[]}"}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO trial_params VALUES(1,1,'weight_decay',0.00017577468595486280466,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.1, "log": true}}');
INSERT INTO trial_params VALUES(2,1,'resolution',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO trial_params VALUES(3,2,'weight_decay',0.00018030177071452470555,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.1, "log": true}}');
INSERT INTO trial_params VALUES(4,2,'resolution',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO trial_params VALUES(5,3,'weight_decay',0.00020547549498060619244,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.1, "log": true}}');
INSERT INTO trial_params VALUES(6,3,'resolution',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO trial_params VALUES(7,4,'weight_decay',9.8918445138350862885e-06,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.1, "log": true}}');
INSERT INTO trial_params VALUES(8,4,'resolution',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO trial_values VALUES(1,1,0,0.50070309874381946357,'FINITE');
INSERT INTO trial_values VALUES(2,1,1,1.7920000000000000373,'FINITE');
INSERT INTO trial_values VALUES(3,2,0,0.50072120708285805523,'FINITE');
INSERT INTO trial_values VALUES(4,2,1,1.7920000000000000373,'FINITE');
INSERT INTO trial_values VALUES(5,3,0,0.50082190197992237923,'FINITE');
INSERT INTO trial_values VALUES(6,3,1,0.89600000000000001865,'FINITE');
INSERT INTO trial_values VALUES(7,4,0,0.50003956737805532739,'FINITE');
INSERT INTO trial_values VALUES(8,4,1,1.7920000000000000373,'FINITE');
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES('v3.2.0.a');
CREATE TABLE leases (
	trial_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	token VARCHAR(64) NOT NULL, 
	renewals INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	boot VARCHAR(128) NOT NULL, 
	pid INTEGER NOT NULL, 
	started VARCHAR(64) NOT NULL, 
	PRIMARY KEY (trial_id)
);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
